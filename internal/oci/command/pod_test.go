package command_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"gocat/internal/testhost"
)

// inPod makes the container one of a pod's, as containerd's CRI tells.
func (b *box) inPod(role string) *box {
	b.spec.Annotations = map[string]string{"io.kubernetes.cri.container-type": role}
	return b.save()
}

// TestSandbox shows that a pod's sandbox is played, whatever program it names.
func TestSandbox(t *testing.T) {
	b := newBox(t, []byte("no program at all")).inPod("sandbox")
	b.created()
	b.must("start", b.id)
	b.await("running")
	b.must("pause", b.id)
	b.await("paused")
	b.must("resume", b.id)
	b.must("kill", b.id, "TERM")
	b.await("stopped")
	b.must("delete", b.id)
}

// TestDelegate hands a container of another kind on, and takes part in its life.
func TestDelegate(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		testhost.Skip(t, "no runc")
	}
	// A sealed guest is a static program, and no unikernel.
	b := newBox(t, exiting(t, 0))
	program := filepath.Join(b.bundle, "rootfs", "program")
	if out, err := exec.Command(filepath.Join(filepath.Dir(runtime), "gocat"), "seal", "-o", program, filepath.Join(b.bundle, "rootfs", "unikernel")).CombinedOutput(); err != nil {
		t.Fatalf("gocat seal: %v, %s", err, out)
	}
	b.spec.Version, b.spec.Process.Args = "1.0.2", []string{"/program"}
	b.save()
	wantError(t, b.do("create", b.id), "a sealed guest is no image")
	b.nothingLeft()

	b.inPod("container")
	wantError(t, b.do("--delegate", "none", "create", b.id), "a sealed guest is no image")
	b.created()
	if s := b.state(); s.Status != "created" || s.ID != b.id {
		t.Fatalf("%+v", s)
	}
	wantError(t, b.do("create", b.id), "already exists")
	b.must("start", b.id)
	b.await("stopped")
	b.must("delete", b.id)
	wantError(t, b.do("state", b.id), "does not exist")

	// By name also outside of a pod.
	b.spec.Annotations = nil
	b.save()
	if r := b.do("--delegate", runc, "run", b.id); r.status != 0 {
		t.Errorf("%+v", r)
	}
}
