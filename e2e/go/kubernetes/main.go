// One program for every part of a small Kubernetes cluster. The name it is called by says which part
// it is, so the parts share one file on disk and one link step. The other files of this folder add
// parts; a build that cannot have one leaves its file out.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// parts are what this program can be; each returns its exit code.
var parts = map[string]func() int{
	"etcd":           func() int { etcdmain.Main(os.Args); return 0 },
	"kubectl":        command(kubectl.NewDefaultKubectlCommand),
	"kube-apiserver": command(apiserver.NewAPIServerCommand),
}

func command(make func() *cobra.Command) func() int {
	return func() int { return cli.Run(make()) }
}

func main() {
	name := filepath.Base(os.Args[0])
	part, ok := parts[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: not a part of this program; call it by the name of one\n", name)
		os.Exit(2)
	}
	os.Exit(part())
}
