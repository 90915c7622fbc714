package main

import (
	"strings"
	"testing"

	"gocat/internal/image"
)

// Mistakes that need no KVM to be found.
func TestBadOptionsHVT(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--cpl=1"}, `--cpl: "1": want 3, or 0`},
		{[]string{"--cpl="}, `--cpl: "": want 3, or 0`},
		{[]string{"--confine=yes"}, `--confine: "yes": want required, available or none`},
		{[]string{"--eof=never"}, `"never": want auto, zero or again`},
		{[]string{"--net-ring=1"}, "takes no value"},
		{[]string{"-v=1"}, "takes no value"},
		{[]string{"-w"}, "unknown option -w: see --help"},
		{[]string{"--x-exec-heap"}, "only spt guests have such a heap"},
		{[]string{"--profile=strict"}, "an hvt guest makes no system calls"},
		{[]string{"--mem=4098"}, "an hvt guest of ABI version 2 has at most 4096 MB"},
		{[]string{"--net:stdin=@99"}, "descriptor 99 is not open"},
		{[]string{"--net:other=@0"}, "no such net device; it declares net 'stdin'"},
		{[]string{"--backend=spt", "--eof=again"}, "only --backend=hvt can hide it"},
	} {
		gocat(t, append([]string{"run", "--backend=hvt"}, test.args...)...).wantError(t, "gocat", test.want)
	}
	spec := exiting(0)
	spec.Target, spec.Version = image.HVT, 1
	old := kernel(t, spec)
	gocat(t, "run", "--mem=1026", old).wantError(t, "gocat", "an hvt guest of ABI version 1 has at most 1024 MB")
	gocat(t, "run", "--backend=spt", old).wantError(t, "gocat", "is built for hvt, not for spt: run it with --backend=hvt")
}

// A policy is explained without KVM too.
func TestPolicyHVT(t *testing.T) {
	text := gocat(t, "policy", "--backend=hvt").wantSuccess(t).stdout
	for _, want := range []string{
		"cat is an hvt guest with 512 MB of memory.\n", "Network device stdin is the inherited descriptor 0.\n",
		"It makes no system calls.", "Policy hvt:", "ioctl(fd 1000, request 0xae80)", "(KVM_RUN)", "exit_group()",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, call := range []string{"open", "openat", "execve", "execveat", "socket", "connect", "ptrace", "fork", "kill", "memfd_create"} {
		if strings.Contains(text, "  "+call+"(") {
			t.Errorf("%s is allowed:\n%s", call, text)
		}
	}
	for _, options := range []string{"--net-ring", "--no-net-ring"} { // it takes no call of its own
		if with := gocat(t, "policy", "--backend=hvt", options).wantSuccess(t).stdout; with != text {
			t.Errorf("with %s:\n%s", options, with)
		}
	}
	disk := file(t, "disk", make([]byte, 4096))
	spec := exiting(0, image.Entry{Name: "service", Type: image.Net}, image.Entry{Name: "storage", Type: image.Block})
	spec.Target = image.HVT
	args := []string{"--net:service=tapthatisnot", "--block:storage=" + disk, kernel(t, spec)}
	d := parse[struct {
		Policy, Deny string
		Devices      []deviceDescription
		Rules        []struct{ Call, Why string }
	}](t, gocat(t, append([]string{"policy", "--format=json"}, args...)...))
	if d.Policy != "hvt" || d.Deny == "" || len(d.Devices) != 2 || d.Devices[0].Path != "tapthatisnot" || d.Rules[0].Call != "ioctl" || d.Rules[0].Why == "" {
		t.Errorf("%+v", d)
	}
	bpf := gocat(t, append([]string{"policy", "--format=bpf"}, args...)...).wantSuccess(t).stdout
	raw := gocat(t, append([]string{"policy", "--format=raw"}, args...)...).wantSuccess(t).stdout
	if lines := strings.Count(bpf, "\n"); lines < 40 || len(raw) != 8*lines {
		t.Errorf("%d lines of BPF, %d bytes", lines, len(raw))
	}
}

// The help of run and policy speaks of both backends.
func TestHelpHVT(t *testing.T) {
	for command, words := range map[string][]string{
		"run": {"--backend", "--cpl 3|0", "--net-ring", "--no-net-ring", "--confine required|available|none", "-v, --verbose", "--eof auto|zero|again",
			"An hvt guest is a virtual machine", "hvt: the guest did what ends it"},
		"policy": {"An hvt unikernel makes none", "--confine"},
		"doctor": {"hvt guests"},
	} {
		help := gocat(t, command, "--help").wantSuccess(t).stdout
		for _, want := range words {
			if !strings.Contains(help, want) {
				t.Errorf("%s --help has no %q:\n%s", command, want, help)
			}
		}
	}
	r := call{program: links + "/solo5-hvt", args: []string{"--help"}}.run(t)
	if r.status != 1 || !strings.HasPrefix(r.stderr, "usage: solo5-hvt ") || !strings.Contains(r.stderr, "--no-net-ring") || strings.Contains(r.stderr, "--x-exec-heap") {
		t.Errorf("solo5-hvt --help: %+v", r)
	}
}
