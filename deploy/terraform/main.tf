# Weft by Terraform: the chart, and a network service as an example of what goes beside it.
terraform {
  required_version = ">= 1.5"
  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = ">= 2.12"
    }
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = ">= 2.27"
    }
  }
}

variable "kubeconfig" {
  type        = string
  description = "How to reach the cluster"
  default     = "~/.kube/config"
}

variable "mode" {
  type        = string
  description = "Who connects a pod that does not say: sidecar or node"
  default     = "sidecar"

  validation {
    condition     = contains(["sidecar", "node"], var.mode)
    error_message = "mode is sidecar or node."
  }
}

provider "helm" {
  kubernetes {
    config_path = var.kubeconfig
  }
}

provider "kubernetes" {
  config_path = var.kubeconfig
}

resource "helm_release" "weft" {
  name             = "weft"
  chart            = "${path.module}/../helm/weft"
  namespace        = "weft-system"
  create_namespace = true
  wait             = true

  set {
    name  = "webhook.mode"
    value = var.mode
  }
}

# With crds.install the definitions come with the release, so this is planned only after it.
resource "kubernetes_manifest" "service" {
  manifest = {
    apiVersion = "networkservicemesh.io/v1"
    kind       = "NetworkService"
    metadata = {
      name      = "example"
      namespace = "default"
    }
    spec = {
      payload = "ETHERNET"
    }
  }

  depends_on = [helm_release.weft]
}
