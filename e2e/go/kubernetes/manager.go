package main

import "k8s.io/kubernetes/cmd/kube-controller-manager/app"

func init() {
	parts["kube-controller-manager"] = command(app.NewControllerManagerCommand)
}
