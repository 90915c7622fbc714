// Command qemutest runs tests of gocat on an ordinary KVM.
//
//	go run ./internal/qemutest [flags] [packages] [-- command args...]
//
// KVM is not the same everywhere, and the machine at hand may have a peculiar
// one or none. qemutest boots a stock Debian kernel under qemu, which emulates a
// processor with AMD-V in software and so needs nothing of the host's own
// virtualisation, loads Debian's kvm and kvm_amd there, and runs the packages'
// test binaries, by default those of ./kvmhvt and ./internal/goguests. With a
// command, it runs that instead of tests.
//
// What it needs beyond Go: qemu-system-x86_64, which it installs when run by
// root, and a Debian kernel, which it downloads with apt-get, unpacks and keeps,
// without its other modules, in the user's cache directory. The kernel is not
// installed on the host; remove the directory to get a newer one.
//
// Everything else is in an initial RAM disk that lives as long as a run: the
// modules, the test binaries with their packages' testdata directories, gocat as
// /bin/gocat, which GOCAT names, with gocat-runtime beside it, for ./kvmhvt its
// tender, which GOCAT_TEND names, for ./internal/goguests the Go programs that it
// runs as unikernels, in the directory that GOCAT_IMAGES names, a few of the host's
// tools such as sh and ip, and the files that -file names. Executables bring their
// shared libraries. When GOCAT_SOLO5 names a built Solo5 checkout, its test guests
// and tenders are there too, and GOCAT_SOLO5 is set inside. CI is passed on: when it
// is set, nothing that a test needs may be missing. There is no network but a
// loopback of the machine's own, and no Go toolchain. Control groups are of version
// 2 alone, for ./internal/oci/command.
//
// The same executable is the virtual machine's init. It reports on the console
// with markers that hold a random number, and qemutest succeeds only when they
// say that every job ended with status 0 and, unless a command was given, when at
// least one test passed.
package main
