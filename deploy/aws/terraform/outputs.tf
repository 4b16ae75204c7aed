output "kms_key_arn" {
  description = "For TOKENSVC_KMS_KEY_ARN."
  value       = aws_kms_key.private_keys.arn
}

output "role_arns" {
  description = "The roles of `tokensvc serve` and `tokensvc worker`."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
}

output "secret_arn" {
  description = "The secret whose value is the database's URL."
  value       = aws_secretsmanager_secret.database_url.arn
}
