package engines

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// containerd is the daemon that ctr and the CRI talk to.
type containerd struct{ socket string }

func (c *containerd) ctr(args ...string) []string {
	return append([]string{"ctr", "--address", c.socket, "--namespace", "k8s.io"}, args...)
}

func (c *containerd) start(t *testing.T) {
	temp := t.TempDir()
	c.socket = "/run/containerd/containerd.sock"
	write(t, "/etc/cni/net.d/10-pods.conflist", `{"cniVersion":"0.4.0","name":"pods","plugins":[
 {"type":"bridge","bridge":"pods0","isGateway":true,"ipMasq":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.99.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}`)
	write(t, temp+"/config.toml", `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:latest"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "gocat"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.gocat]
      runtime_type = "io.containerd.runc.v2"
      pod_annotations = ["com.urunc.*", "gocat.*"]
      container_annotations = ["com.urunc.*", "gocat.*"]
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.gocat.options]
        BinaryName = "`+runtime()+`"
`)
	daemon(t, temp+"/log", "containerd", "--config", temp+"/config.toml", "--address", c.socket)
	eventually(t, "containerd", func() bool { return command(t, nil, c.ctr("version")...).status == 0 })
	c.load(t, pauseImage(t))
}

func (c *containerd) load(t testing.TB, archive string) {
	t.Helper()
	must(t, c.ctr("image", "import", archive)...)
}

// pauseImage makes the image of a pod's sandbox: its program is not looked at.
func pauseImage(t testing.TB) string {
	t.Helper()
	return archive(t, "pause", v1.Config{Entrypoint: []string{"/pause"}}, map[string][]byte{"pause": []byte("#!/none\n")})
}

// ctr is containerd by its own client.
type ctr struct {
	containerd
	made atomic.Int64
}

func newCtr() engine { return &ctr{} }

func (c *ctr) lacks(need string) string {
	return map[string]string{
		"stdin":    "ctr passes no end of input on",
		"restart":  "ctr has none",
		"publish":  "ctr publishes no ports",
		"networks": "ctr has no networks by name",
		"update":   "ctr changes no limits",
		"mapping":  "ctr 1.6 has runc run it then, whatever --runc-binary says",
	}[need]
}

// command is the whole command line: ctr does without the image's entry point where
// there are arguments.
func (s spec) command() []string {
	if len(s.args) == 0 {
		return nil
	}
	return append([]string{"/" + strings.Replace(s.image, "-", ".", 1)}, s.args...)
}

func (c *ctr) words(s spec) (words []string) {
	words = []string{"--runtime=io.containerd.runc.v2", "--runc-binary=" + runtime()}
	if s.terminal {
		words = append(words, "--tty")
	}
	if s.memory != "" {
		var n int
		fmt.Sscanf(s.memory, "%dm", &n)
		words = append(words, fmt.Sprintf("--memory-limit=%d", n<<20))
	}
	if s.volume != "" {
		parts := append(bytes.Split([]byte(s.volume), []byte(":")), []byte("rw"))
		words = append(words, fmt.Sprintf("--mount=type=bind,src=%s,dst=%s,options=bind:%s", parts[0], parts[1], parts[2]))
	}
	return words
}

func (c *ctr) id() string { return fmt.Sprintf("ctr-%d", c.made.Add(1)) }

func (c *ctr) run(t testing.TB, s spec) ended {
	t.Helper()
	args := append(append([]string{"run", "--rm"}, c.words(s)...), "localhost/"+s.image+":latest", c.id())
	args = c.ctr(append(args, s.command()...)...)
	if s.terminal {
		return onTerminal(t, s.stdin, args)
	}
	return command(t, nil, args...)
}

func (c *ctr) launch(t testing.TB, s spec) container {
	t.Helper()
	id := c.id()
	log := filepath.Join(t.TempDir(), id)
	args := append(append([]string{"run", "--detach", "--log-uri=file://" + log}, c.words(s)...), "localhost/"+s.image+":latest", id)
	must(t, c.ctr(append(args, s.command()...)...)...)
	t.Cleanup(func() {
		command(t, nil, c.ctr("task", "delete", "--force", id)...)
		command(t, nil, c.ctr("container", "delete", id)...)
	})
	return &task{t, c, id, log}
}

type task struct {
	t       testing.TB
	c       *ctr
	id, log string
}

func (k *task) logs() []byte {
	b, _ := os.ReadFile(k.log)
	return b
}

// state is what containerd says of the task.
func (k *task) state() string {
	k.t.Helper()
	out := must(k.t, k.c.ctr("task", "list")...)
	for _, line := range bytes.Split([]byte(out), []byte("\n")) {
		var id, state string
		var pid int
		if n, _ := fmt.Sscan(string(line), &id, &pid, &state); n == 3 && id == k.id {
			return map[string]string{"RUNNING": "running", "PAUSED": "paused", "STOPPED": "exited"}[state]
		}
	}
	return "gone"
}

// wait deletes the task when it has ended: that is where ctr has its status.
func (k *task) wait() int {
	k.t.Helper()
	eventually(k.t, "the task's end", func() bool { return k.state() == "exited" })
	e := command(k.t, nil, k.c.ctr("task", "delete", k.id)...)
	status := 0
	if _, text, ok := strings.Cut(e.stderr, "non-zero exit code "); ok { // a warning, of a status that is none
		fmt.Sscan(text, &status)
	} else if e.status != 0 {
		k.t.Errorf("task delete: %+v", e)
	}
	return status
}

func (k *task) kill(signal string) {
	k.t.Helper()
	must(k.t, k.c.ctr("task", "kill", "--signal=SIG"+signal, k.id)...)
}

// stop asks the task to end, as engines do, and makes it in the end.
func (k *task) stop(seconds int) {
	k.t.Helper()
	k.kill("TERM")
	for start := time.Now(); time.Since(start) < time.Duration(seconds)*time.Second; time.Sleep(20 * time.Millisecond) {
		if k.state() == "exited" {
			return
		}
	}
	k.kill("KILL")
}

func (k *task) pause()    { k.t.Helper(); must(k.t, k.c.ctr("task", "pause", k.id)...) }
func (k *task) resume()   { k.t.Helper(); must(k.t, k.c.ctr("task", "resume", k.id)...) }
func (k *task) restart()  { k.t.Fatal("ctr restarts nothing") }
func (k *task) limit(int) { k.t.Fatal("ctr changes no limits") }
