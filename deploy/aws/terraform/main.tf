# Two IAM roles, the KMS key that encrypts the private keys, and a secret for the database's URL. Nothing else: tokensvc itself
# creates, rotates and deletes IVS's playback key pairs. In Terraform a changed name or public key replaces a pair, and all
# tokens that the deleted one has signed are rejected immediately.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  account_id  = data.aws_caller_identity.current.account_id
  partition   = data.aws_partition.current.partition
  kms_key_arn = aws_kms_key.private_keys.arn
  secret_arn  = aws_secretsmanager_secret.database_url.arn
  role_arns   = [for role in aws_iam_role.this : role.arn]
}

resource "aws_iam_role" "this" {
  for_each = toset(["serve", "worker"])

  name        = "${var.name}-${each.key}"
  description = "tokensvc ${each.key}"
  tags        = var.tags

  assume_role_policy = jsonencode(local.trust_policies[each.key])

  lifecycle {
    precondition {
      condition     = var.ecs || var.oidc_provider_arn != null
      error_message = "Set ecs, oidc_provider_arn or both: otherwise nothing could assume the roles."
    }
  }
}

resource "aws_iam_role_policy" "this" {
  for_each = aws_iam_role.this

  name   = "tokensvc"
  role   = each.value.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.iam_statements[each.key] })
}

resource "aws_iam_role_policy" "execution" {
  count = var.execution_role_name == null ? 0 : 1

  name   = "${var.name}-database-url"
  role   = var.execution_role_name
  policy = jsonencode(local.execution_policy)
}

# Anyone who deletes it destroys every private key and the viewer ids of all subjects.
resource "aws_kms_key" "private_keys" {
  description             = "${var.name}: encrypts the private keys of tokensvc"
  policy                  = jsonencode(local.kms_key_policy)
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "private_keys" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.private_keys.key_id
}

# Its value is put there by hand, and so is in no state file and no plan.
resource "aws_secretsmanager_secret" "database_url" {
  name                    = "${var.name}/database-url"
  description             = "TOKENSVC_DATABASE_URL of tokensvc, with the password"
  recovery_window_in_days = 30
  tags                    = var.tags
}
