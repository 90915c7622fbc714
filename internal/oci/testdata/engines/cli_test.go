package engines

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gocat/internal/pty"
)

// cli is an engine that is driven as podman and docker are.
type cli struct {
	program []string // with the options of every call
	mapping []string // options that give a container a user namespace
}

func (c cli) args(args ...string) []string { return slices.Concat(c.program, args) }

type podman struct{ cli }

func newPodman() engine {
	return &podman{cli{program: []string{"podman"}, mapping: []string{"--uidmap=0:200000:5000", "--gidmap=0:300000:5000"}}}
}

func (p *podman) start(t *testing.T) {
	os.Setenv("CONTAINERS_CONF", configurePodman(t))
	t.Cleanup(func() { command(t, nil, p.args("rm", "--all", "--force", "--time=0")...) })
}

// configurePodman writes podman's settings and returns the file's path.
func configurePodman(t *testing.T) string {
	conf := filepath.Join(dir, "containers.conf")
	// Limits of descriptors would be raised, which a test's host may forbid.
	write(t, conf, `[containers]
default_ulimits = []
log_driver = "k8s-file"
[network]
network_backend = "netavark"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "gocat"
[engine.runtimes]
gocat = ["`+runtime()+`"]
`)
	write(t, "/etc/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	return conf
}

func (p *podman) lacks(string) string { return "" }

type docker struct{ cli }

func newDocker() engine { return &docker{} }

func (d *docker) start(t *testing.T) {
	dir := t.TempDir()
	socket := "unix://" + dir + "/docker.sock"
	d.program = []string{"docker", "--host", socket}
	write(t, dir+"/daemon.json", `{"runtimes":{"gocat":{"path":"`+runtime()+`"}},"default-runtime":"gocat"}`)
	daemon(t, dir+"/log", "dockerd", "--config-file", dir+"/daemon.json", "--host", socket, "--data-root", dir+"/data",
		"--exec-root", "/run/docker", "--pidfile", dir+"/pid")
	eventually(t, "dockerd", func() bool { return command(t, nil, d.args("info")...).status == 0 })
}

func (d *docker) lacks(need string) string {
	return map[string]string{"mapping": "a dockerd has user namespaces for all containers, or none"}[need]
}

func (c cli) load(t testing.TB, archive string) {
	t.Helper()
	must(t, c.args("load", "-i", archive)...)
}

// words are the options of run and create for a spec.
func (c cli) words(s spec) []string {
	words := []string{"--network=none"}
	if len(s.networks) > 0 {
		words[0] = "--network=" + s.networks[0]
	}
	if s.stdin != nil || s.terminal {
		words = append(words, "-i")
	}
	if s.terminal {
		words = append(words, "-t")
	}
	for option, value := range map[string]string{"--memory": s.memory, "--publish": s.publish, "--volume": s.volume} {
		if value != "" {
			words = append(words, option+"="+value)
		}
	}
	if s.mapped {
		words = append(words, c.mapping...)
	}
	return append(append(words, "localhost/"+s.image), s.args...)
}

func (c cli) run(t testing.TB, s spec) ended {
	t.Helper()
	if len(s.networks) > 1 {
		id := c.create(t, s)
		return command(t, nil, c.args("start", "--attach", id)...)
	}
	args := c.args(append([]string{"run", "--rm"}, c.words(s)...)...)
	if s.terminal {
		return onTerminal(t, s.stdin, args)
	}
	var stdin io.Reader
	if s.stdin != nil {
		stdin = bytes.NewReader(s.stdin)
	}
	return command(t, stdin, args...)
}

// create makes a container on all of its networks.
func (c cli) create(t testing.TB, s spec) string {
	t.Helper()
	id := must(t, c.args(append([]string{"create"}, c.words(s)...)...)...)
	t.Cleanup(func() { command(t, nil, c.args("rm", "--force", id)...) })
	for _, name := range s.networks[min(1, len(s.networks)):] {
		must(t, c.args("network", "connect", name, id)...)
	}
	return id
}

func (c cli) launch(t testing.TB, s spec) container {
	t.Helper()
	id := c.create(t, s)
	must(t, c.args("start", id)...)
	t.Cleanup(func() {
		if t.Failed() {
			e := command(t, nil, c.args("logs", id)...)
			t.Logf("the end of %s's logs: %s", s.image, e.stdout[max(0, len(e.stdout)-2000):]+e.stderr)
		}
	})
	return &cliContainer{t, c, id}
}

// onTerminal runs a command on a pseudoterminal, types, and returns what it shows.
func onTerminal(t testing.TB, typed []byte, args []string) ended {
	t.Helper()
	master, slave, err := pty.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	m, s := os.NewFile(uintptr(master), "pty"), os.NewFile(uintptr(slave), "tty")
	defer m.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s, s, s
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(3*patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	s.Close()
	if _, err := m.Write(typed); err != nil {
		t.Fatal(err)
	}
	shown, _ := io.ReadAll(m) // to the end, which is EIO
	cmd.Wait()
	return ended{cmd.ProcessState.ExitCode(), string(shown), ""}
}

type cliContainer struct {
	t  testing.TB
	c  cli
	id string
}

func (c *cliContainer) must(args ...string) string {
	c.t.Helper()
	return must(c.t, c.c.args(args...)...)
}

func (c *cliContainer) logs() []byte {
	c.t.Helper()
	return []byte(command(c.t, nil, c.c.args("logs", c.id)...).stdout)
}

func (c *cliContainer) wait() int {
	c.t.Helper()
	n, err := strconv.Atoi(c.must("wait", c.id))
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *cliContainer) state() string {
	c.t.Helper()
	return strings.ToLower(c.must("inspect", "--format={{.State.Status}}", c.id))
}

func (c *cliContainer) kill(signal string) { c.t.Helper(); c.must("kill", "--signal="+signal, c.id) }

func (c *cliContainer) stop(seconds int) {
	c.t.Helper()
	c.must("stop", "--time="+strconv.Itoa(seconds), c.id)
}

func (c *cliContainer) pause()   { c.t.Helper(); c.must("pause", c.id) }
func (c *cliContainer) resume()  { c.t.Helper(); c.must("unpause", c.id) }
func (c *cliContainer) restart() { c.t.Helper(); c.must("restart", "--time=10", c.id) }

func (c *cliContainer) limit(mb int) {
	c.t.Helper()
	size := strconv.Itoa(mb) + "m"
	c.must("update", "--memory="+size, "--memory-swap="+size, c.id)
}
