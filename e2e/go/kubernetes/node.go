package main

import (
	"context"

	"github.com/spf13/cobra"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func init() {
	parts["kube-proxy"] = command(proxy.NewProxyCommand)
	parts["kube-scheduler"] = command(func() *cobra.Command { return scheduler.NewSchedulerCommand() })
	parts["kubelet"] = command(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) })
}
