package command

import (
	"os"
	"slices"

	"github.com/opencontainers/cgroups/systemd"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"gocat/internal/oci/bundle"
	"gocat/internal/oci/container"
	"gocat/internal/version"
)

// printFeatures prints what the runtime can do, as the specification has it.
func printFeatures(*call) error {
	yes, no := true, false
	_, selinux := os.Stat("/sys/fs/selinux/enforce")
	_, apparmor := os.Stat("/sys/kernel/security/apparmor")
	namespaces := []string{}
	for kind := range bundle.Namespaces {
		namespaces = append(namespaces, string(kind))
	}
	slices.Sort(namespaces)
	hasSystemd := systemd.IsRunningSystemd()
	has := func(err error) *bool {
		if err == nil {
			return &yes
		}
		return &no
	}
	return printJSON(&features.Features{
		OCIVersionMin: "1.0.0", OCIVersionMax: specVersion,
		Hooks:        []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions: bundle.MountOptions(),
		Linux: &features.Linux{
			Namespaces:   namespaces,
			Capabilities: container.CapabilityNames(),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &hasSystemd, SystemdUser: &no, Rdma: &yes},
			// linux.seccomp is taken, and not applied: the guest's own filter is
			// narrower than any that a container could do with.
			Seccomp:         &features.Seccomp{Enabled: &no},
			Apparmor:        &features.Apparmor{Enabled: has(apparmor)},
			Selinux:         &features.Selinux{Enabled: has(selinux)},
			IntelRdt:        &features.IntelRdt{Enabled: &no},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &no}},
		},
		Annotations: map[string]string{
			"gocat.version": version.String(),
			"gocat.seccomp": "linux.seccomp is not applied: an spt guest is left with eight system calls by a filter of its own, the tender of an hvt guest with thirteen",
		},
	})
}
