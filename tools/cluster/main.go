// Command cluster is a Kubernetes control plane in one binary.
//
// It holds etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl, and runs the one that its
// first argument (or the name it was called by) says. Every process of the control plane is this one file.
// `cluster genkey FILE` writes the key that signs service account tokens, so that nothing needs openssl.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

var components = map[string]func() int{
	"etcd":                    func() int { etcdmain.Main(os.Args); return 0 },
	"genkey":                  generateKey,
	"kube-apiserver":          server(apiserver.NewAPIServerCommand),
	"kube-controller-manager": server(controllermanager.NewControllerManagerCommand),
	"kube-scheduler":          server(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubectl":                 runKubectl,
}

func main() {
	if !isComponent(os.Args[0]) {
		os.Args = os.Args[1:]
	}
	if len(os.Args) == 0 || !isComponent(os.Args[0]) {
		fmt.Fprintln(os.Stderr, "usage: cluster COMPONENT [FLAG...]; COMPONENT is one of: "+strings.Join(names(), ", "))
		os.Exit(2)
	}
	endWithParent()
	os.Exit(components[filepath.Base(os.Args[0])]())
}

func server(command func() *cobra.Command) func() int {
	return func() int { return cli.Run(command()) }
}

// runKubectl leaves printing and the exit status to kubectl's own error handling: `kubectl diff` answers 1 for
// "differs" and more than 1 for failures, plugins and `kubectl exec` hand on the status of what they ran.
func runKubectl() int {
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
	return 0
}

func isComponent(path string) bool {
	return components[filepath.Base(path)] != nil
}

func names() []string {
	all := []string{}
	for name := range components {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
