package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
)

// sptGuest runs the bundled cat as an spt guest.
func (h *Host) sptGuest() Result { return h.runCat("spt", Fail) }

// hvtGuest runs the bundled cat as an hvt guest, confined as by default.
func (h *Host) hvtGuest() Result { return h.runCat("hvt", Warn) }

// runCat runs the bundled cat from end to end; bad is the verdict if that fails.
func (h *Host) runCat(backend string, bad Status) Result {
	input := bytes.Repeat([]byte("gocat doctor\n"), 1000)
	out, err := h.Gocat(input, "run", "--backend="+backend)
	switch {
	case err != nil:
		return Result{Status: bad, Found: "could not try one", Means: err.Error()}
	case out.Status != 0:
		r := Result{Status: bad, Found: fmt.Sprintf("the bundled cat ended with status %d", out.Status), Remedy: "see the lines above"}
		if line, _, _ := strings.Cut(string(out.Stderr), "\n"); line != "" {
			r.Means = strings.TrimPrefix(line, "gocat: ")
		}
		return r
	case !bytes.Equal(out.Stdout, input):
		return Result{Status: bad, Found: "the bundled cat lost data",
			Means: fmt.Sprintf("it was given %d bytes and gave %d", len(input), len(out.Stdout)), Remedy: "please report it"}
	}
	return Result{Found: "the bundled cat runs", Means: backend + " guests work"}
}

// KVM checks for /dev/kvm and says which implementation it is.
func (h *Host) KVM() Result {
	fd, err := unix.Open(filepath.Join(h.Root, "dev/kvm"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		r := Result{Status: Warn, Found: "cannot open /dev/kvm (" + err.Error() + ")", Means: "no hvt guests"}
		switch {
		case errors.Is(err, unix.ENOENT):
			r.Remedy = "load kvm_intel or kvm_amd, enable virtualisation in the firmware, and in a container pass the device in"
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
			r.Remedy = "join the group that owns it: usermod -aG kvm $USER"
		}
		return r
	}
	defer unix.Close(fd)
	n, err := unix.IoctlRetInt(fd, abi.KVMGetAPIVersion)
	if err != nil || n != abi.KVMVersion {
		return Result{Status: Warn, Found: fmt.Sprintf("/dev/kvm has API version %d (%v)", n, err), Means: "no hvt guests"}
	}
	return h.kvmKind()
}

func (h *Host) kvmKind() Result {
	kind := ""
	for _, k := range []string{"kvm_intel", "kvm_amd", "kvm_pvm"} {
		if unix.Access(filepath.Join(h.Root, "sys/module", k), unix.F_OK) == nil {
			kind = k
			break
		}
	}
	cpu, _ := h.read("proc/cpuinfo")
	_, flags, _ := strings.Cut(cpu, "\nflags")
	flags, _, _ = strings.Cut(flags, "\n")
	nested := ""
	for _, f := range strings.Fields(flags) {
		if f == "hypervisor" {
			nested = ", nested in another hypervisor"
		}
	}
	switch kind {
	case "kvm_intel":
		return Result{Found: "/dev/kvm is kvm_intel (VT-x)" + nested, Means: "guests run natively"}
	case "kvm_amd":
		return Result{Found: "/dev/kvm is kvm_amd (AMD-V)" + nested, Means: "guests run natively"}
	case "kvm_pvm":
		return Result{Found: "/dev/kvm is kvm_pvm, without VT-x or AMD-V" + nested,
			Means: "guest code at CPL 0 is emulated, some 1 us an instruction and no SSE; at CPL 3 it runs natively, and so does CPUID: guests see the host's processor, whatever gocat masks"}
	}
	return Result{Status: Warn, Found: "/dev/kvm is of an unknown kind" + nested, Means: "hvt guests may be slow"}
}

func (h *Host) taps() Result {
	fd, err := unix.Open(filepath.Join(h.Root, "dev/net/tun"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
		return Result{Found: "/dev/net/tun can be opened", Means: "guests can be attached to taps; those of other users take CAP_NET_ADMIN"}
	}
	r := Result{Status: Warn, Found: "cannot open /dev/net/tun (" + err.Error() + ")", Means: "no taps; inherited descriptors work"}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		r.Remedy = "modprobe tun, and in a container pass the device in"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		r.Remedy = "permission to read and write it, usually chmod 666 /dev/net/tun"
	}
	return r
}

// landlock asks for the ABI version (landlock_create_ruleset(2)).
func (h *Host) landlock() Result {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return Result{Status: Warn, Found: "none (" + errno.Error() + ")",
			Means:  "guests and the hvt tender go without this layer",
			Remedy: "a kernel with CONFIG_SECURITY_LANDLOCK, booted with landlock in lsm="}
	}
	return Result{Found: fmt.Sprintf("ABI version %d", n), Means: "guests and the hvt tender give up their access to files"}
}
