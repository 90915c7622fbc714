package bundle

import (
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// refused is what the runtime does about a field of config.json by name. Everything else
// is a reason for which the field has no effect.
const refused = "refused"

// honours lists the fields that have an effect, by what they are in.
var honours = map[string]string{
	"":                                     "ociVersion hostname domainname annotations",
	"process":                              "terminal args cwd noNewPrivileges apparmorProfile oomScoreAdj selinuxLabel",
	"process.consoleSize":                  "height width",
	"process.user":                         "uid gid umask additionalGids",
	"process.capabilities":                 "bounding effective inheritable permitted ambient",
	"process.rlimits":                      "type hard soft",
	"process.scheduler":                    "policy nice priority flags runtime deadline period",
	"process.ioPriority":                   "class priority",
	"root":                                 "path readonly",
	"mounts":                               "destination type source options",
	"hooks.prestart":                       "path args env timeout",
	"hooks.createRuntime":                  "path args env timeout",
	"hooks.createContainer":                "path args env timeout",
	"hooks.startContainer":                 "path args env timeout",
	"hooks.poststart":                      "path args env timeout",
	"hooks.poststop":                       "path args env timeout",
	"linux.uidMappings":                    "containerID hostID size",
	"linux.gidMappings":                    "containerID hostID size",
	"linux":                                "sysctl cgroupsPath rootfsPropagation maskedPaths readonlyPaths mountLabel",
	"linux.resources.devices":              "allow type major minor access",
	"linux.resources.memory":               "limit reservation swap swappiness disableOOMKiller checkBeforeUpdate",
	"linux.resources.cpu":                  "shares quota burst period realtimeRuntime realtimePeriod cpus mems idle",
	"linux.resources.pids":                 "limit",
	"linux.resources.blockIO":              "weight leafWeight",
	"linux.resources.blockIO.weightDevice": "major minor weight leafWeight",
	"linux.resources.blockIO.throttleReadBpsDevice":   "major minor rate",
	"linux.resources.blockIO.throttleWriteBpsDevice":  "major minor rate",
	"linux.resources.blockIO.throttleReadIOPSDevice":  "major minor rate",
	"linux.resources.blockIO.throttleWriteIOPSDevice": "major minor rate",
	"linux.resources.hugepageLimits":                  "pageSize limit",
	"linux.resources.network":                         "classID",
	"linux.resources.network.priorities":              "name priority",
	"linux.resources.rdma":                            "hcaHandles hcaObjects",
	"linux.resources":                                 "unified",
	"linux.namespaces":                                "type path",
	"linux.devices":                                   "path type major minor fileMode uid gid",
	"linux.personality":                               "domain",
}

// others lists the rest: one stands for those within it. A field that a newer
// specification adds is in neither list, and the test fails until somebody has decided.
var others = map[string]string{
	"solaris": refused, "windows": refused, "vm": refused, "zos": refused, "freebsd": refused,
	"process.user.username": refused, "process.commandLine": refused,
	"process.env":             "PATH is read; a unikernel has no environment",
	"process.execCPUAffinity": "it is for exec, which is refused",
	"mounts.uidMappings":      refused, "mounts.gidMappings": refused,
	"linux.netDevices": refused, "linux.intelRdt": refused, "linux.memoryPolicy": refused, "linux.timeOffsets": refused,
	"linux.personality.flags":       refused,
	"linux.resources.memory.kernel": refused, "linux.resources.memory.kernelTCP": refused,
	"linux.resources.memory.useHierarchy": "kernels have it so; false is refused",
	"linux.seccomp.defaultAction":         filter, "linux.seccomp.defaultErrnoRet": filter, "linux.seccomp.architectures": filter,
	"linux.seccomp.flags": filter, "linux.seccomp.syscalls": filter, "linux.seccomp.listenerMetadata": "it is for the listener",
	"linux.seccomp.listenerPath": refused,
}

const filter = "the guest's own filter is narrower than any"

// TestFields walks the structure of config.json: each field is in one of the lists, and
// those have no other. What is to be refused is, by name.
func TestFields(t *testing.T) {
	met, honoured := map[string]bool{}, map[string]bool{}
	for in, names := range honours {
		for name := range strings.FieldsSeq(names) {
			if in != "" {
				name = in + "." + name
			}
			honoured[name] = true
		}
	}
	walk(reflect.TypeFor[specs.Spec](), nil, func(path []int, name string) bool {
		what, ok := others[name]
		if !ok {
			return false
		}
		met[name] = true
		if what == refused {
			s := example()
			reflected := reflect.ValueOf(s).Elem()
			for _, i := range path {
				reflected = grow(reflected).Field(i)
			}
			fill(reflected)
			last := name[strings.LastIndexByte(name, '.')+1:]
			if err := Check(s); err == nil || !strings.Contains(err.Error(), last) {
				t.Errorf("%s is set: %v", name, err)
			}
		}
		return true
	}, func(name string) {
		if !honoured[name] {
			t.Errorf("nobody has decided what %s does", name)
		}
		met[name] = true
	}, "")
	for name := range others {
		honoured[name] = true
	}
	for name := range honoured {
		if !met[name] {
			t.Errorf("there is no field %s", name)
		}
	}
	if err := Check(example()); err != nil {
		t.Errorf("the example: %v", err)
	}
}

// walk calls known for a field with the way to it, and goes into one that known does not
// know; a field without any within is given to lost.
func walk(t reflect.Type, path []int, known func([]int, string) bool, lost func(string), at string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if at != "" && !f.Anonymous {
			name = at + "." + name
		} else if f.Anonymous {
			name = at
		}
		way := append(append([]int{}, path...), i)
		if !f.Anonymous && known(way, name) {
			continue
		}
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
			inner = inner.Elem()
		}
		if inner.Kind() != reflect.Struct {
			lost(name)
			continue
		}
		walk(inner, way, known, lost, name)
	}
}

// grow returns the structure that v is, points to, or is a list of.
func grow(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return grow(v.Elem())
	case reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		return grow(v.Index(0))
	}
	return v
}

// fill makes a value another than that of a field that is not there.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if v.Elem().Kind() != reflect.Struct {
			fill(v.Elem())
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.Zero(v.Type().Key()), reflect.Zero(v.Type().Elem()))
	case reflect.String:
		v.SetString("x")
	case reflect.Int64:
		v.SetInt(1)
	default:
		panic(v.Kind().String())
	}
}

// example is a configuration that is not refused.
func example() *specs.Spec {
	return &specs.Spec{
		Version: "1.0.0", Root: &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: []string{"/unikernel"}, Cwd: "/"},
		Mounts:  []specs.Mount{{Destination: "/x", Type: "tmpfs", Source: "tmpfs"}},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}},
			Resources: &specs.LinuxResources{}, Seccomp: &specs.LinuxSeccomp{}, Personality: &specs.LinuxPersonality{Domain: specs.PerLinux}},
	}
}
