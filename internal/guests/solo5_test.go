package guests

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// solo5 returns a command that runs a guest image under Solo5's own tender for
// target, with the tender's options given and the guest's arguments after.
func solo5(t *testing.T, target image.Target, img []byte, options []string, args ...string) *exec.Cmd {
	t.Helper()
	dir := testhost.Solo5(t)
	if target == image.HVT {
		kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err != nil {
			testhost.Skip(t, "no KVM: "+err.Error())
		}
		kvm.Close()
	}
	file := filepath.Join(t.TempDir(), "guest")
	if err := os.WriteFile(file, img, 0o600); err != nil {
		t.Fatal(err)
	}
	name := "solo5-" + target.String()
	argv := append(append(options, "--", file), args...)
	return exec.Command(filepath.Join(dir, "tenders", target.String(), name), argv...)
}

// solo5Cat is solo5 for a cat on descriptor 0.
func solo5Cat(t *testing.T, target image.Target, v Variant, args ...string) *exec.Cmd {
	t.Helper()
	img, err := Cat(target, v)
	if err != nil {
		t.Fatal(err)
	}
	probe := solo5(t, target, img, []string{"--net:stdin=@0"}, "--solo5:quiet", "--help")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	probe.Stdin = r
	out, _ := probe.CombinedOutput()
	skipRefused(t, string(out))
	return solo5(t, target, img, []string{"--net:stdin=@0"}, args...)
}

// skipRefused skips t when a tender printed that it does not take a descriptor
// for a network device, as those since v0.10.
func skipRefused(t *testing.T, out string) {
	t.Helper()
	if strings.Contains(out, "Could not attach interface: @0") {
		testhost.Skip(t, "this Solo5 refuses --net:stdin=@0, v0.9.3 takes it: "+out)
	}
}

// run runs cmd on input through a pipe and returns what it printed on its
// standard output and its exit status; -1 means that a signal killed it. On hvt,
// where Solo5's tender has no end of file, the guest is killed once it has
// printed want bytes, if it prints so many.
func run(t *testing.T, cmd *exec.Cmd, input []byte, want int) (string, int) {
	t.Helper()
	cmd.Stdin = bytes.NewReader(input)
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, want)
	n, err := io.ReadFull(out, got)
	got = got[:n]
	if err == nil && strings.HasSuffix(cmd.Path, "hvt") {
		cmd.Process.Kill()
	}
	rest, _ := io.ReadAll(out)
	got = append(got, rest...)
	cmd.Wait()
	if stderr.Len() > 0 {
		t.Logf("tender: %s", stderr)
	}
	return string(got), cmd.ProcessState.ExitCode()
}
