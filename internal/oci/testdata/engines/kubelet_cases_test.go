package engines

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestKubelet runs pods under a kubelet, on both backends.
func TestKubelet(t *testing.T) {
	engine := &cri{}
	c := startCluster(t, engine)
	c.apply(t, `{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{"name":"gocat"},"handler":"gocat"}`)
	busybox, err := os.ReadFile("/usr/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	engine.load(t, archive(t, "shell", v1.Config{Entrypoint: []string{"/busybox"}}, map[string][]byte{"busybox": busybox}))
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			for _, name := range []string{"tool", "web"} {
				engine.load(t, filepath.Join(dir, name+"."+backend+".tar"))
			}
			for _, test := range []struct {
				name string
				run  func(*testing.T, *cluster, string)
			}{
				{"status", podStatus}, {"web", podWeb}, {"limit", podLimit}, {"grace", podGrace}, {"liveness", podLiveness},
				{"exec", podExec}, {"beside", podBeside}, {"deployment", podDeployment},
			} {
				t.Run(test.name, func(t *testing.T) { test.run(t, c, backend) })
			}
		})
	}
}

func podStatus(t *testing.T, c *cluster, backend string) {
	c.pod(t, "status-"+backend, podSpec("tool-"+backend, "Never", `,"args":["exit","7"]`))
	eventually(t, "the pod's end", func() bool { return c.field(t, "status-"+backend, ".status.phase") == "Failed" })
	if got := c.field(t, "status-"+backend, ".status.containerStatuses[0].state.terminated.exitCode"); got != "7" {
		t.Errorf("exit code %s", got)
	}
}

// A web server with probes by HTTP and TCP answers at the pod's address.
func podWeb(t *testing.T, c *cluster, backend string) {
	name := "web-" + backend
	c.pod(t, name, podSpec(name, "Always", `,"ports":[{"containerPort":80}],"resources":{"limits":{"memory":"128Mi","cpu":"500m"}},
"readinessProbe":{"httpGet":{"path":"/","port":80},"periodSeconds":1},"livenessProbe":{"tcpSocket":{"port":80},"periodSeconds":1}`))
	eventually(t, "the pod", func() bool { return c.ready(t, name) })
	r, err := (&http.Client{Timeout: patience}).Get("http://" + c.field(t, name, ".status.podIP") + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil || !strings.HasPrefix(string(body), "Hello from a Go program") {
		t.Errorf("%q, %v", body, err)
	}
	if got := must(t, c.args("logs", name)...); !strings.HasPrefix(got, "web: listening on") {
		t.Errorf("logs: %q", got)
	}
	eventually(t, "what it has used", func() bool {
		e := c.kubectl(t, "get", "--raw", "/api/v1/nodes/"+nodeName+"/proxy/stats/summary")
		_, of, ok := strings.Cut(e.stdout, `"name": "`+name+`"`)
		return ok && strings.Contains(of, `"workingSetBytes"`)
	})
	if got := c.field(t, name, ".status.containerStatuses[0].restartCount"); got != "0" {
		t.Errorf("restarted %s times", got)
	}
}

func (c *cluster) ready(t testing.TB, pod string) bool {
	t.Helper()
	return c.field(t, pod, `.status.conditions[?(@.type=="Ready")].status`) == "True"
}

func podLimit(t *testing.T, c *cluster, backend string) {
	name := "limit-" + backend
	c.pod(t, name, podSpec("tool-"+backend, "Never", `,"args":["eat","200"],"resources":{"limits":{"memory":"96Mi"}}`))
	eventually(t, "the pod's end", func() bool { return c.field(t, name, ".status.phase") == "Failed" })
}

// A pod that is deleted has its grace to end in order; who follows its logs sees that.
func podGrace(t *testing.T, c *cluster, backend string) {
	name := "grace-" + backend
	c.pod(t, name, podSpec("tool-"+backend, "Never", `,"args":["term"]`))
	eventually(t, "the pod", func() bool { return c.field(t, name, ".status.phase") == "Running" })
	args := c.args("logs", "--follow", name)
	follow := exec.Command(args[0], args[1:]...)
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	defer follow.Wait()
	defer time.AfterFunc(2*patience, func() { follow.Process.Kill() }).Stop()
	lines := bufio.NewScanner(out)
	for _, want := range []string{"waiting", "asked to end"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("%q, want %q", lines.Text(), want)
		}
		if want == "waiting" {
			must(t, c.args("delete", "pod", name, "--wait=false")...)
		}
	}
	eventually(t, "its removal", func() bool { return c.kubectl(t, "get", "pod", name).status != 0 })
}

// A pod whose liveness fails is started again.
func podLiveness(t *testing.T, c *cluster, backend string) {
	name := "liveness-" + backend
	c.pod(t, name, podSpec("tool-"+backend, "Always", `,"args":["wait"],"livenessProbe":{"tcpSocket":{"port":80},"periodSeconds":1,"failureThreshold":1,"terminationGracePeriodSeconds":1}`))
	eventually(t, "its second start", func() bool {
		return !strings.Contains(" 0", c.field(t, name, ".status.containerStatuses[0].restartCount"))
	})
}

// Execution is refused with a reason.
func podExec(t *testing.T, c *cluster, backend string) {
	name := "exec-" + backend
	c.pod(t, name, podSpec("tool-"+backend, "Never", `,"args":["wait"],"readinessProbe":{"exec":{"command":["true"]},"periodSeconds":1}`))
	eventually(t, "the reason", func() bool {
		return strings.Contains(c.kubectl(t, "describe", "pod", name).stdout, "a unikernel has one program and no shell")
	})
	if c.ready(t, name) {
		t.Error("it is ready")
	}
}

// An ordinary program in the pod is handed to runc, and can be executed in.
func podBeside(t *testing.T, c *cluster, backend string) {
	name := "beside-" + backend
	spec := strings.TrimSuffix(podSpec("web-"+backend, "Never", ""), "]}") +
		`,{"name":"shell","image":"localhost/shell:latest","imagePullPolicy":"Never","command":["/busybox","sleep","1000"]}]}`
	c.pod(t, name, spec)
	eventually(t, "the pod", func() bool { return c.ready(t, name) })
	got := c.kubectl(t, "exec", name, "-c", "shell", "--", "/busybox", "echo", "hello")
	if got.status != 0 || got.stdout != "hello\n" {
		t.Errorf("%+v", got)
	}
}

// podDeployment has 20 pods at once, more and fewer.
func podDeployment(t *testing.T, c *cluster, backend string) {
	name, n := "many-"+backend, 20
	c.apply(t, fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q},"spec":{"replicas":%d,"selector":{"matchLabels":{"app":%[1]q}},
"template":{"metadata":{"labels":{"app":%[1]q}},"spec":%[3]s}}}`, name, n, podSpec("web-"+backend, "Always", `,"readinessProbe":{"httpGet":{"path":"/","port":80},"periodSeconds":2}`)))
	available := func() string {
		return must(t, c.args("get", "deployment", name, "-o", "jsonpath={.status.availableReplicas}")...)
	}
	for start := time.Now(); available() != fmt.Sprint(n); time.Sleep(time.Second) {
		if time.Since(start) > 5*patience {
			t.Fatalf("%s of %d are available\n%s", available(), n, c.kubectl(t, "get", "pods").stdout)
		}
	}
	must(t, c.args("delete", "deployment", name, "--cascade=foreground", "--wait=false")...)
	must(t, c.args("delete", "replicasets,pods", "-l", "app="+name, "--wait=false")...)
	eventually(t, "their end", func() bool {
		return len(bytes.TrimSpace([]byte(c.kubectl(t, "get", "pods", "-l", "app="+name, "-o", "name").stdout))) == 0
	})
}
