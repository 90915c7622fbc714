package engines

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// validationVariable names a directory with the validation programs of OCI
// runtime-tools, its runtimetest, and its rootfs-amd64.tar.gz.
const validationVariable = "GOCAT_OCI_VALIDATION"

// verdict is how a program judges a runtime.
type verdict struct {
	ok     int      // points of its TAP that are well
	failed []string // those that are not, or how it ended
}

func (v verdict) String() string {
	if len(v.failed) == 0 {
		return fmt.Sprint(v.ok, " ok")
	}
	return fmt.Sprintf("%d ok, %d not", v.ok, len(v.failed))
}

// beyond are failures that the list does not have.
func (v verdict) beyond(faults []string) (all []string) {
	for _, f := range v.failed {
		if !slices.ContainsFunc(faults, func(known string) bool { return strings.Contains(f, known) }) {
			all = append(all, f)
		}
	}
	return all
}

// TestValidation runs the validation programs of OCI runtime-tools with runc, crun and
// gocat, on both backends. Their containers run Linux programs, so for gocat the command
// standin is between. The table validation says for which of them that is not possible,
// and which points nobody can satisfy; everything else must be well.
func TestValidation(t *testing.T) {
	from := os.Getenv(validationVariable)
	if from == "" {
		t.Skipf("%s names no directory with the programs of github.com/opencontainers/runtime-tools", validationVariable)
	}
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil { // which crun refuses beside the others
		unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH) // in these namespaces
	}
	runtimes := []struct{ name, tool string }{{"runc", ""}, {"crun", ""}, {"spt", "tool.spt"}, {"hvt", "tool.hvt"}}
	var report strings.Builder
	for _, p := range validation {
		if only := os.Getenv("GOCAT_OCI_VALIDATION_ONLY"); only != "" && !slices.Contains(strings.Fields(only), p.name) {
			continue
		}
		fmt.Fprintf(&report, "| %s |", p.name)
		for _, r := range runtimes {
			if r.tool != "" && p.apart {
				fmt.Fprint(&report, " - |")
				continue
			}
			v := validate(t, from, p.name, r.name, r.tool)
			fmt.Fprintf(&report, " %s |", v)
			t.Logf("%s with %s: %v %q", p.name, r.name, v, v.failed)
			if all := v.beyond(p.faults); r.tool != "" && len(all) > 0 {
				t.Errorf("%s with gocat on %s: %q", p.name, r.name, all)
			}
		}
		fmt.Fprintf(&report, " %s |\n", p.why)
	}
	t.Logf("\n| program | runc | crun | gocat, spt | gocat, hvt | |\n|---|---|---|---|---|---|\n%s", report.String())
}

// validate runs a program in the directory from, where it looks for what it needs.
func validate(t *testing.T, from, program, runtimeName, tool string) (v verdict) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(from, program))
	cmd.Dir = from
	cmd.Env = append(os.Environ(), "RUNTIME="+runtimeName)
	if runtimeName != "runc" {
		cmd.Env = append(os.Environ(), "RUNTIME="+filepath.Join(dir, "standin"), "GOCAT_STANDIN_RUNTIME="+runtimeName)
	}
	if tool != "" {
		cmd.Env = append(cmd.Env, "GOCAT_STANDIN_RUNTIME="+runtime(), "GOCAT_STANDIN_TOOL="+filepath.Join(dir, tool))
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var errors []string
	points := 0
	for line := range strings.SplitSeq(out.String(), "\n") {
		if strings.Contains(line, "# SKIP") { // a point that was left out is none
			continue
		}
		if _, text, ok := strings.Cut(line, "\"error\": "); ok && text != `""` && text != `"",` {
			errors = append(errors, text)
		}
		if _, text, ok := strings.Cut(line, "not ok "); ok {
			points++
			v.failed = append(v.failed, text)
		} else if strings.HasPrefix(line, "ok ") {
			points++
			v.ok++
		}
	}
	switch {
	case len(v.failed) > 0:
	case err != nil || ctx.Err() != nil:
		v.failed = []string{fmt.Sprintf("%v: %s", err, bytes.TrimSpace(out.Bytes()[max(0, out.Len()-400):]))}
	case points == 0: // some count none, and say what is wrong beside
		v.failed = errors
		if len(errors) == 0 {
			v.ok = 1
		}
	}
	return v
}

// validation lists the programs. One that is apart cannot judge the container of a
// unikernel. Faults are what nobody can satisfy, or a fault of the program.
var validation = []struct {
	name   string
	apart  bool
	faults []string
	why    string
}{
	{name: "config_updates_without_affect"},
	{name: "create"},
	{name: "default"},
	{name: "delete", faults: []string{"attempting to `delete` a container that is not `stopped`"}, why: "a created container is deleted, as runc does: engines count on it"},
	{name: "delete_only_create_resources"},
	{name: "delete_resources", faults: []string{`pids limit is set correctly`}, why: "the program compares pointers"},
	{name: "hooks", faults: []string{`Hooks MUST be called in the listed order`}, why: "the program expects words that its hooks do not write"},
	{name: "hooks_stdin", faults: []string{`to "prestart" hook over stdin`}, why: "the program expects the state of specification 1.0 for prestart"},
	{name: "hostname"},
	{name: "kill"},
	{name: "kill_no_effect"},
	{name: "killsig", apart: true, why: "its shell answers signals by making files; a unikernel gets SIGTERM and SIGINT, and has no files"},
	{name: "linux_cgroups_blkio", faults: []string{`blkio.leaf_weight`}, why: "the kernel has no blkio.leaf_weight"},
	{name: "linux_cgroups_cpus"},
	{name: "linux_cgroups_devices", faults: []string{`devices c 10:229 rwm is set correctly`}, why: "the program expects no rules before its own"},
	{name: "linux_cgroups_hugetlb", faults: []string{`cannot set hugetlb limit`}, why: "the host has no hugetlb hierarchy"},
	{name: "linux_cgroups_memory", faults: []string{`memory kernel is set`, `memory kernelTCP is set`}, why: "gocat refuses memory.kernel and kernelTCP, runc takes them without effect"},
	{name: "linux_cgroups_network", faults: []string{`linux_cgroups_network.go`}, why: "the host has no net_cls; the program ends by a panic"},
	{name: "linux_cgroups_pids", faults: []string{`pids limit is set correctly`}, why: "the program compares pointers"},
	{name: "linux_cgroups_relative_blkio", faults: []string{`exit status 1`}, why: "the kernel has no blkio.leaf_weight"},
	{name: "linux_cgroups_relative_cpus"},
	{name: "linux_cgroups_relative_devices", faults: []string{`devices c 10:229 rwm is set correctly`}, why: "the program expects no rules before its own"},
	{name: "linux_cgroups_relative_hugetlb", faults: []string{`exit status 1`}, why: "the host has no hugetlb hierarchy"},
	{name: "linux_cgroups_relative_memory", faults: []string{`memory kernel is set`, `memory kernelTCP is set`}, why: "gocat refuses memory.kernel and kernelTCP, runc takes them without effect"},
	{name: "linux_cgroups_relative_network", faults: []string{`exit status 1`}, why: "the host has no net_cls"},
	{name: "linux_cgroups_relative_pids", faults: []string{`pids limit is set correctly`}, why: "the program compares pointers"},
	{name: "linux_devices"},
	{name: "linux_masked_paths"},
	{name: "linux_mount_label", faults: []string{`type tmpfs: invalid argument`}, why: "the host has no SELinux"},
	{name: "linux_ns_itype", faults: []string{`cannot run validation tests`}, why: "gocat refuses a container without a mount namespace: its root would be the host's"},
	{name: "linux_ns_nopath"},
	{name: "linux_ns_path"},
	{name: "linux_ns_path_type"},
	{name: "linux_process_apparmor_profile", faults: []string{`the host has no AppArmor`}, why: "the host has no AppArmor"},
	{name: "linux_readonly_paths"},
	{name: "linux_rootfs_propagation"},
	{name: "linux_seccomp"},
	{name: "linux_sysctl"},
	{name: "linux_uid_mappings"},
	{name: "misc_props", faults: []string{`unknown annotation key`}, why: "the program forgets to put runtimetest in the root"},
	{name: "mounts"},
	{name: "pidfile", faults: []string{`create with '--pid-file' option works`}, why: "the program kills a process that has ended, now and then before it has: a race of its own"},
	{name: "poststart", apart: true, why: "the order of a hook's words and the process's in a file is looked at; a unikernel has no files"},
	{name: "poststart_fail", faults: []string{`the runtime MUST log a warning`}, why: "as in specification 1.0; since then it is an error"},
	{name: "poststop"},
	{name: "poststop_fail"},
	{name: "prestart", faults: []string{"Pre-start hooks MUST be called after the `start`"}, why: "as in specification 1.0; since then create runs them"},
	{name: "prestart_fail"},
	{name: "process"},
	{name: "process_capabilities", faults: []string{"capability CAP_SYS_RESOURCE set"}, why: "root has no CAP_SYS_RESOURCE on this host: gocat warns, as the specification demands, and gives the rest"},
	{name: "process_capabilities_fail", faults: []string{`cannot be mapped to a relevant kernel interface`}, why: "as in specification 1.0; since then it is a warning"},
	{name: "process_oom_score_adj"},
	{name: "process_rlimits", faults: []string{`has expected soft RLIMIT_NOFILE`}, why: "runtimetest itself raises its soft limit: Go programs do"},
	{name: "process_rlimits_fail"},
	{name: "process_user"},
	{name: "root_readonly_true"},
	{name: "start", faults: []string{`exit status 1`}, why: "a container without a process is refused by create, as by runc"},
	{name: "state"},
}
