package engines

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kubeletVariable names a directory with kubelet, kube-apiserver,
// kube-controller-manager and kubectl, as make test-kubelet builds them.
const kubeletVariable = "GOCAT_KUBELET"

// cluster is Kubernetes with one node. There is no scheduler: pods name the node.
type cluster struct{ programs, kubeconfig string }

const (
	nodeName    = "node"
	nodeAddress = "10.200.0.1"
	apiServer   = "https://127.0.0.1:6443"
	token       = "everybody-here-is-an-administrator"
)

// startCluster starts a cluster on top of an engine. It ends with t.
func startCluster(t *testing.T, e engine) *cluster {
	programs := os.Getenv(kubeletVariable)
	if programs == "" {
		t.Skipf("%s names no directory with the programs of Kubernetes: run make test-kubelet", kubeletVariable)
	}
	e.start(t)
	temp := t.TempDir()
	c := &cluster{programs, temp + "/kubeconfig"}
	must(t, "ip", "address", "add", nodeAddress+"/32", "dev", "lo")
	write(t, c.kubeconfig, `{"apiVersion":"v1","kind":"Config","current-context":"it",
"clusters":[{"name":"it","cluster":{"server":"`+apiServer+`","insecure-skip-tls-verify":true}}],
"users":[{"name":"it","user":{"token":"`+token+`"}}],
"contexts":[{"name":"it","context":{"cluster":"it","user":"it"}}]}`)
	write(t, temp+"/tokens", token+",admin,admin,system:masters\n")
	must(t, "openssl", "genrsa", "-out", temp+"/key", "2048")

	daemon(t, temp+"/etcd.log", "etcd", "--data-dir="+temp+"/etcd", "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379")
	daemon(t, temp+"/apiserver.log", programs+"/kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--cert-dir="+temp+"/certs",
		"--bind-address=127.0.0.1", "--advertise-address="+nodeAddress, "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://test", "--service-account-signing-key-file="+temp+"/key", "--service-account-key-file="+temp+"/key",
		"--token-auth-file="+temp+"/tokens", "--authorization-mode=AlwaysAllow", "--disable-admission-plugins=ServiceAccount",
		"--kubelet-preferred-address-types=InternalIP")
	eventually(t, "the API server", func() bool { return c.kubectl(t, "get", "--raw", "/readyz").status == 0 })
	daemon(t, temp+"/controllers.log", programs+"/kube-controller-manager", "--kubeconfig="+c.kubeconfig, "--leader-elect=false",
		"--secure-port=0", "--controllers=deployment-controller,replicaset-controller")

	// The kubelet would change these settings of the host's: it finds them as it wants them.
	for name, value := range map[string]string{"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000"} {
		own := filepath.Join(temp, "sysctl", name)
		write(t, own, value+"\n")
		must(t, "mount", "--bind", own, "/proc/sys/"+name)
	}
	groups := filepath.Base(dir) + "-kubelet"
	hierarchies, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range append(hierarchies, "/sys/fs/cgroup/cgroup.procs") {
		if exists(h) {
			group := filepath.Join(filepath.Dir(h), groups)
			if err := os.Mkdir(group, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { removeGroups(t, group) })
		}
	}
	write(t, temp+"/kubelet.yaml", `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration",
"authentication":{"anonymous":{"enabled":true},"webhook":{"enabled":false}},"authorization":{"mode":"AlwaysAllow"},
"address":"`+nodeAddress+`","healthzPort":0,"failSwapOn":false,"failCgroupV1":false,"cgroupDriver":"cgroupfs","cgroupRoot":"/`+groups+`",
"containerRuntimeEndpoint":"unix:///run/containerd/containerd.sock","podLogsDir":"`+temp+`/pods","oomScoreAdj":0,
"enforceNodeAllocatable":["pods"],"evictionHard":{"memory.available":"10Mi"},"resolvConf":""}`)
	daemon(t, temp+"/kubelet.log", programs+"/kubelet", "--config="+temp+"/kubelet.yaml", "--kubeconfig="+c.kubeconfig, "--root-dir=/run/kubelet", // where it mounts things, which end with the tests

		"--hostname-override="+nodeName, "--node-ip="+nodeAddress)
	eventually(t, "the node", func() bool { return strings.Contains(c.kubectl(t, "get", "nodes").stdout, " Ready ") })
	return c
}

// removeGroups removes a control group with those below it.
func removeGroups(t *testing.T, group string) {
	var all []string
	filepath.WalkDir(group, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			all = append(all, path)
		}
		return nil
	})
	for i := len(all) - 1; i >= 0; i-- {
		if err := os.Remove(all[i]); err != nil {
			t.Logf("left over: %v", err)
		}
	}
}

func (c *cluster) args(args ...string) []string {
	return append([]string{c.programs + "/kubectl", "--kubeconfig=" + c.kubeconfig, "--cache-dir=" + filepath.Dir(c.kubeconfig) + "/cache"}, args...)
}

func (c *cluster) kubectl(t testing.TB, args ...string) ended {
	t.Helper()
	return command(t, nil, c.args(args...)...)
}

// field is one of a pod's.
func (c *cluster) field(t testing.TB, pod, path string) string {
	t.Helper()
	return must(t, c.args("get", "pod", pod, "-o", "jsonpath={"+path+"}")...)
}

// podSpec is that of a pod of one unikernel. more is further fields of its container.
func podSpec(image, policy, more string) string {
	return fmt.Sprintf(`{"nodeName":%q,"runtimeClassName":"gocat","restartPolicy":%q,"automountServiceAccountToken":false,"enableServiceLinks":false,
"terminationGracePeriodSeconds":60,"containers":[{"name":"guest","image":"localhost/%s:latest","imagePullPolicy":"Never"%s}]}`, nodeName, policy, image, more)
}

// apply makes an object.
func (c *cluster) apply(t *testing.T, object string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "object.json")
	write(t, file, object)
	must(t, c.args("apply", "-f", file)...)
}

// pod makes a pod.
func (c *cluster) pod(t *testing.T, name, spec string) {
	t.Helper()
	c.apply(t, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":%s}`, name, spec))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s%s", c.kubectl(t, "describe", "pod", name).stdout, c.kubectl(t, "logs", name).stdout)
		}
		must(t, c.args("delete", "pod", name, "--ignore-not-found", "--grace-period=1")...)
	})
}
