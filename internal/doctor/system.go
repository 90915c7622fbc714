package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kernel checks for the calls that spt guests cannot do without.
func (h *Host) kernel() Result {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return unreadable(err)
	}
	return judgeRelease(unix.ByteSliceToString(name.Release[:]))
}

func judgeRelease(release string) Result {
	r := Result{Found: "Linux " + release}
	major, minor, ok := version(release)
	atLeast := func(x, y int) bool { return major > x || major == x && minor >= y }
	switch {
	case !ok:
		r.Status, r.Means = Warn, "not a version that gocat understands"
	case !atLeast(5, 9):
		r.Status, r.Means, r.Remedy = Fail, "it has no close_range, which keeps descriptors from guests", "use Linux 5.9 or later"
	case !atLeast(6, 3):
		r.Means = "has close_range; its memfds are all executable (MFD_EXEC is of 6.3)"
	default:
		r.Means = "has close_range and MFD_EXEC"
	}
	return r
}

// version returns the first two numbers of a kernel release.
func version(release string) (major, minor int, ok bool) {
	first, rest, ok := strings.Cut(release, ".")
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		rest = rest[:end]
	}
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(rest)
	return major, minor, ok && err1 == nil && err2 == nil
}

func (h *Host) memfd() Result {
	n, err := h.number("proc/sys/vm/memfd_noexec")
	switch {
	case errors.Is(err, os.ErrNotExist) && h.hasProc():
		return Result{Found: "no vm.memfd_noexec", Means: "nothing restricts memfds"}
	case err != nil:
		return unreadable(err)
	}
	r := Result{Found: "vm.memfd_noexec is " + strconv.FormatUint(n, 10)}
	if n < 2 {
		r.Means = "gocat run may execute its memfds"
		return r
	}
	r.Status, r.Means = Fail, "gocat run cannot execute its memfds"
	r.Remedy = "sysctl vm.memfd_noexec=1, or gocat seal -o FILE and run the file"
	return r
}

// guestBase is where the memory of an spt guest begins (SPT_HOST_MEM_BASE).
const guestBase = 0x10000

func (h *Host) mmapMinAddr() Result {
	n, err := h.number("proc/sys/vm/mmap_min_addr")
	if err != nil {
		return unreadable(err)
	}
	r := Result{Found: "vm.mmap_min_addr is " + strconv.FormatUint(n, 10)}
	if n <= guestBase {
		r.Means = fmt.Sprintf("guest memory may begin at %d", guestBase)
		return r
	}
	r.Status, r.Means = Fail, fmt.Sprintf("the memory of spt guests begins at %d", guestBase)
	r.Remedy = fmt.Sprintf("sysctl vm.mmap_min_addr=%d", guestBase)
	return r
}

func (h *Host) overcommit() Result {
	n, err := h.number("proc/sys/vm/overcommit_memory")
	if err != nil {
		return unreadable(err)
	}
	r := Result{Found: "vm.overcommit_memory is " + strconv.FormatUint(n, 10)}
	if n != 2 {
		r.Means = "guests use the memory that they touch"
		return r
	}
	r.Status, r.Means = Warn, "the kernel counts the whole of --mem against its limit for every guest"
	r.Remedy = "give small --mem, or sysctl vm.overcommit_memory=0"
	return r
}

// systemMappings says whether the kernel lets a guest's address space be
// emptied: with CONFIG_MSEAL_SYSTEM_MAPPINGS its own mappings stay.
func (h *Host) systemMappings() Result {
	maps, err := h.read("proc/self/smaps")
	if err != nil {
		return unreadable(err)
	}
	_, vdso, ok := strings.Cut(maps, "[vdso]")
	if !ok {
		return Result{Found: "no vdso", Means: "a guest's address space holds nothing of the host's"}
	}
	_, flags, _ := strings.Cut(vdso, "VmFlags:")
	flags, _, _ = strings.Cut(flags, "\n")
	for _, f := range strings.Fields(flags) {
		if f == "sl" {
			return Result{Status: Warn, Found: "the vdso is sealed", Means: "it stays mapped in spt guests, which may read it and its clock",
				Remedy: "a kernel without CONFIG_MSEAL_SYSTEM_MAPPINGS"}
		}
	}
	return Result{Found: "the vdso is not sealed", Means: "it is unmapped before a guest starts"}
}

// hasProc says whether /proc is mounted.
func (h *Host) hasProc() bool {
	_, err := os.Stat(filepath.Join(h.Root, "proc/self/fd"))
	return err == nil
}

func (h *Host) proc() Result {
	if !h.hasProc() {
		return Result{Status: Warn, Found: "no /proc",
			Means: "pipes and terminals cannot be opened anew, so guests block while they read them", Remedy: "mount -t proc proc /proc"}
	}
	return Result{Found: "/proc is mounted", Means: "pipes and terminals are opened anew, and the caller's flags stay as they are"}
}

// bulkPipe is the capacity in bytes that pipes are widened to.
const bulkPipe = 1 << 20

func (h *Host) pipes() Result {
	size, err := h.number("proc/sys/fs/pipe-max-size")
	if err != nil {
		return unreadable(err)
	}
	soft, err := h.number("proc/sys/fs/pipe-user-pages-soft")
	if err != nil {
		return unreadable(err)
	}
	pages := bulkPipe / uint64(os.Getpagesize())
	r := Result{Found: fmt.Sprintf("fs.pipe-max-size is %d, fs.pipe-user-pages-soft %d", size, soft)}
	switch {
	case size < bulkPipe:
		r.Status, r.Means = Warn, "pipes of unprivileged users stay small, and bulk transfer is slower"
		r.Remedy = fmt.Sprintf("sysctl fs.pipe-max-size=%d", bulkPipe)
	case soft != 0 && soft < 2*pages:
		r.Status, r.Means = Warn, "an unprivileged user has no room for two pipes of 1 MiB, and bulk transfer is slower"
		r.Remedy = fmt.Sprintf("sysctl fs.pipe-user-pages-soft=%d", 64*pages)
	case soft == 0:
		r.Means = "pipes can be widened to 1 MiB"
	default:
		r.Means = fmt.Sprintf("%d pipes of a user can be widened to 1 MiB", soft/pages)
	}
	return r
}

func (h *Host) userNamespaces() Result {
	const unneeded = "gocat goes without where it must; they permit the layers that take capabilities, and unprivileged users to make taps of their own"
	n, err := h.number("proc/sys/user/max_user_namespaces")
	switch {
	case errors.Is(err, os.ErrNotExist) && h.hasProc():
		return Result{Found: "none", Means: unneeded}
	case err != nil:
		return unreadable(err)
	}
	r := Result{Found: "at most " + strconv.FormatUint(n, 10), Means: unneeded}
	if clone, err := h.number("proc/sys/kernel/unprivileged_userns_clone"); err == nil && clone == 0 {
		r.Found += ", by root only (kernel.unprivileged_userns_clone is 0)"
	}
	if armor, err := h.number("proc/sys/kernel/apparmor_restrict_unprivileged_userns"); err == nil && armor == 1 {
		r.Found += ", restricted by AppArmor (kernel.apparmor_restrict_unprivileged_userns is 1)"
	}
	return r
}
