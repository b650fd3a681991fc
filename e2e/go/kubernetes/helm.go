//go:build helm

package main

import (
	"errors"
	"os"

	"helm.sh/helm/v4/pkg/cmd"
	"helm.sh/helm/v4/pkg/kube"
)

func init() {
	helm = func(args []string) int {
		kube.ManagedFieldsManager = "helm"
		root, err := cmd.NewRootCmd(os.Stdout, args, cmd.SetupLogging)
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			return 1
		}
		err = root.Execute()
		var coded cmd.CommandError
		switch {
		case err == nil:
			return 0
		case errors.As(err, &coded):
			return coded.ExitCode
		}
		return 1
	}
}
