variable "name" {
  description = "Prefix of the names of all resources: one for each deployment of tokensvc in the account."
  type        = string
  default     = "tokensvc"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,40}$", var.name))
    error_message = "The name must have at most 41 characters: small letters, digits and hyphens, first a letter."
  }
}

variable "regions" {
  description = "The AWS regions of the channels, as in TOKENSVC_REGIONS. The KMS key and the secret are in the provider's region."
  type        = list(string)

  validation {
    condition     = length(var.regions) > 0
    error_message = "At least one region is needed."
  }
}

variable "ecs" {
  description = "Whether tasks of Amazon ECS may assume the roles."
  type        = bool
  default     = false
}

variable "execution_role_name" {
  description = "The execution role of the ECS tasks: it may then read the secret. Default: none."
  type        = string
  default     = null
}

variable "oidc_provider_arn" {
  description = "The IAM OIDC provider of an EKS cluster whose service accounts may assume the roles. Default: none."
  type        = string
  default     = null
}

variable "kubernetes_namespace" {
  description = "The namespace of the service accounts tokensvc-serve and tokensvc-worker in that cluster."
  type        = string
  default     = "tokensvc"
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
}
