# The policies are the JSON files beside this module, with the names of this account in place of those of the examples.
# Nothing in this file needs a provider.

locals {
  policy_files = "${path.module}/../policies"

  # Each statement, for every region instead of the example's.
  iam_statements = {
    for role in ["serve", "worker"] : role => [
      for statement in jsondecode(file("${local.policy_files}/${role}.json")).Statement : merge(statement, {
        Resource = statement.Sid == "PrivateKeys" ? [local.kms_key_arn] : [
          for region in var.regions : replace(replace(replace(statement.Resource,
          "arn:aws:", "arn:${local.partition}:"), "us-east-1", region), "123456789012", local.account_id)
        ]
      })
    ]
  }

  kms_key_policy = merge(jsondecode(file("${local.policy_files}/kms-key.json")), {
    Statement = [
      for statement in jsondecode(file("${local.policy_files}/kms-key.json")).Statement : merge(statement, {
        Principal = {
          AWS = statement.Sid == "PrivateKeys" ? local.role_arns : ["arn:${local.partition}:iam::${local.account_id}:root"]
        }
      })
    ]
  })

  oidc_issuer = var.oidc_provider_arn == null ? "" : split(":oidc-provider/", var.oidc_provider_arn)[1]

  # Who may assume the roles: tasks of ECS in this account, and one service account of one cluster for each role.
  trust_policies = {
    for role in ["serve", "worker"] : role => {
      Version = "2012-10-17"
      Statement = concat(
        var.ecs ? [{
          Sid       = "Ecs"
          Effect    = "Allow"
          Action    = ["sts:AssumeRole"]
          Principal = { Service = ["ecs-tasks.amazonaws.com"] }
          Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
        }] : [],
        var.oidc_provider_arn == null ? [] : [{
          Sid       = "Eks"
          Effect    = "Allow"
          Action    = ["sts:AssumeRoleWithWebIdentity"]
          Principal = { Federated = [var.oidc_provider_arn] }
          Condition = {
            StringEquals = {
              "${local.oidc_issuer}:aud" = "sts.amazonaws.com"
              "${local.oidc_issuer}:sub" = "system:serviceaccount:${var.kubernetes_namespace}:tokensvc-${role}"
            }
          }
        }],
      )
    }
  }

  execution_policy = merge(jsondecode(file("${local.policy_files}/execution.json")), {
    Statement = [
      for statement in jsondecode(file("${local.policy_files}/execution.json")).Statement :
      merge(statement, { Resource = [local.secret_arn] })
    ]
  })
}
