package engines

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// cri is containerd as Kubernetes uses it: a pod for each container.
type cri struct {
	containerd
	client api.RuntimeServiceClient
	logDir string
	made   atomic.Int64
}

func newCRI() engine { return &cri{} }

func (c *cri) start(t *testing.T) {
	c.containerd.start(t)
	conn, err := grpc.NewClient("unix://"+c.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c.client, c.logDir = api.NewRuntimeServiceClient(conn), t.TempDir()
	eventually(t, "the CRI", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r, err := c.client.Status(ctx, &api.StatusRequest{})
		if err != nil {
			return false
		}
		for _, condition := range r.Status.Conditions {
			if !condition.Status {
				return false
			}
		}
		return true
	})
}

func (c *cri) lacks(need string) string {
	return map[string]string{
		"stdin":    "an attached stream is an engine's own server; podman and docker show the runtime's part",
		"terminal": "as standard input",
		"restart":  "the kubelet makes another container instead",
		"pause":    "the CRI has none",
		"mapping":  "containerd 1.6 gives pods no user namespaces",
		"networks": "a pod has one, as CNI makes it",
		// containerd's shim waits two seconds for its copies of the output when init has
		// ended, and no longer: on a busy host 0.8 MB of 10 were missing.
		"last words": "the CRI's log may lack what a guest printed just before its end",
	}[need]
}

func (c *cri) context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(cancel)
	return ctx
}

// launch makes a pod with the container.
func (c *cri) launch(t testing.TB, s spec) container {
	t.Helper()
	ctx := c.context(t)
	name := fmt.Sprintf("pod-%d", c.made.Add(1))
	pod := &api.PodSandboxConfig{
		Metadata:     &api.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name},
		LogDirectory: c.logDir,
		Linux:        &api.LinuxPodSandboxConfig{CgroupParent: ""},
	}
	if s.publish != "" {
		var host, port int32
		fmt.Sscanf(s.publish, "%d:%d", &host, &port)
		pod.PortMappings = []*api.PortMapping{{HostPort: host, ContainerPort: port}}
	}
	sandbox, err := c.client.RunPodSandbox(ctx, &api.RunPodSandboxRequest{Config: pod, RuntimeHandler: "gocat"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := c.context(t)
		c.client.StopPodSandbox(ctx, &api.StopPodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
		c.client.RemovePodSandbox(ctx, &api.RemovePodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
	})
	config := &api.ContainerConfig{
		Metadata: &api.ContainerMetadata{Name: "guest"},
		Image:    &api.ImageSpec{Image: "localhost/" + s.image + ":latest"},
		Args:     s.args,
		LogPath:  name + ".log",
		Linux:    &api.LinuxContainerConfig{Resources: &api.LinuxContainerResources{}},
	}
	if s.memory != "" {
		var n int64
		fmt.Sscanf(s.memory, "%dm", &n)
		config.Linux.Resources.MemoryLimitInBytes = n << 20
	}
	if s.volume != "" {
		parts := strings.Split(s.volume, ":")
		config.Mounts = []*api.Mount{{HostPath: parts[0], ContainerPath: parts[1], Readonly: len(parts) > 2}}
	}
	made, err := c.client.CreateContainer(ctx, &api.CreateContainerRequest{PodSandboxId: sandbox.PodSandboxId, Config: config, SandboxConfig: pod})
	if err != nil {
		t.Fatal(err)
	}
	k := &criContainer{t: t, c: c, id: made.ContainerId, log: filepath.Join(c.logDir, name+".log")}
	if _, err := c.client.StartContainer(ctx, &api.StartContainerRequest{ContainerId: k.id}); err != nil {
		k.failed = err
	}
	return k
}

func (c *cri) run(t testing.TB, s spec) ended {
	t.Helper()
	k := c.launch(t, s).(*criContainer)
	if k.failed != nil {
		return ended{status: 128, stderr: k.failed.Error()}
	}
	status := k.wait()
	return ended{status, string(k.stream("stdout")), string(k.stream("stderr"))}
}

type criContainer struct {
	t       testing.TB
	c       *cri
	id, log string
	failed  error // of its start
}

// stream is what one of the container's streams printed: a line of the log has a
// time, the stream, P or F for a part or a full line, and the text.
func (k *criContainer) stream(name string) []byte {
	b, _ := os.ReadFile(k.log)
	var text []byte
	for _, line := range bytes.SplitAfter(b, []byte("\n")) {
		parts := bytes.SplitN(line, []byte(" "), 4)
		if len(parts) < 4 || name != "" && string(parts[1]) != name {
			continue
		}
		if string(parts[2]) == "P" {
			parts[3] = bytes.TrimSuffix(parts[3], []byte("\n"))
		}
		text = append(text, parts[3]...)
	}
	return text
}

func (k *criContainer) logs() []byte { return k.stream("") }

func (k *criContainer) status() *api.ContainerStatus {
	k.t.Helper()
	r, err := k.c.client.ContainerStatus(k.c.context(k.t), &api.ContainerStatusRequest{ContainerId: k.id})
	if err != nil {
		k.t.Fatal(err)
	}
	return r.Status
}

func (k *criContainer) state() string {
	k.t.Helper()
	return map[api.ContainerState]string{api.ContainerState_CONTAINER_RUNNING: "running", api.ContainerState_CONTAINER_EXITED: "exited"}[k.status().State]
}

func (k *criContainer) wait() int {
	k.t.Helper()
	if k.failed != nil {
		k.t.Fatal(k.failed)
	}
	eventually(k.t, "the container's end", func() bool { return k.state() == "exited" })
	return int(k.status().ExitCode)
}

func (k *criContainer) stop(seconds int) {
	k.t.Helper()
	if _, err := k.c.client.StopContainer(k.c.context(k.t), &api.StopContainerRequest{ContainerId: k.id, Timeout: int64(seconds)}); err != nil {
		k.t.Fatal(err)
	}
}

// kill ends the container: the CRI has no other signals.
func (k *criContainer) kill(string) { k.t.Helper(); k.stop(0) }

func (k *criContainer) pause()   { k.t.Fatal("the CRI pauses nothing") }
func (k *criContainer) resume()  { k.t.Fatal("the CRI pauses nothing") }
func (k *criContainer) restart() { k.t.Fatal("the CRI restarts nothing") }

func (k *criContainer) limit(mb int) {
	k.t.Helper()
	_, err := k.c.client.UpdateContainerResources(k.c.context(k.t), &api.UpdateContainerResourcesRequest{ContainerId: k.id,
		Linux: &api.LinuxContainerResources{MemoryLimitInBytes: int64(mb) << 20}})
	if err != nil {
		k.t.Fatal(err)
	}
}
