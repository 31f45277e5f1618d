// Package kubernetes has the programs of a Kubernetes cluster as ordinary dependencies, so that a test machine which
// reaches a Go module proxy and nothing else can build them (build.sh). `go install …@version` refuses this module for
// its replace lines; here they point at the published staging modules.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver/app"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	_ "k8s.io/kubernetes/cmd/kube-proxy/app"
	_ "k8s.io/kubernetes/cmd/kube-scheduler/app"
	_ "k8s.io/kubernetes/cmd/kubelet/app"
	_ "k8s.io/kubectl/pkg/cmd"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
)
