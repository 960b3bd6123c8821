// Command cluster is a Kubernetes control plane in one binary.
//
// It holds etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl, and runs the one that its
// first argument (or the name it was called by) says. Every process of the control plane is this one file.
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
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

func main() {
	if !isComponent(filepath.Base(os.Args[0])) {
		os.Args = os.Args[1:]
	}
	if len(os.Args) == 0 || !isComponent(filepath.Base(os.Args[0])) {
		fmt.Fprintln(os.Stderr, "usage: cluster COMPONENT [FLAG...]; COMPONENT is one of: "+strings.Join(names(), ", "))
		os.Exit(2)
	}
	component := filepath.Base(os.Args[0])
	if component == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	os.Exit(cli.Run(components[component]()))
}

func isComponent(name string) bool {
	return slices.Contains(names(), name)
}

func names() []string {
	all := []string{"etcd"}
	for name := range components {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
