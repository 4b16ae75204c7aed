"""What the deployment reports about itself."""
