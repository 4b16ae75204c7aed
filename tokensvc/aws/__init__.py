"""ARNs, and the AWS services that tokensvc calls: IVS (or the local IVS) and KMS."""
