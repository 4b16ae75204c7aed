"""The deployment: what all processes of one store share."""
