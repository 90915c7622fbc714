package bench

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/perf/benchfmt"

	"gocat/internal/testhost"
)

var update = flag.Bool("update", false, "write the golden files")

// sampleReport has one of everything.
func sampleReport() *Report {
	r := &runner{Config: &Config{}}
	own := &subject{name: "spt", tender: gocatSPT}
	solo5 := &subject{name: "solo5-spt v1", tender: solo5SPT}
	values := func(factor float64) (s []sample) {
		for _, v := range upTo(8) {
			s = append(s, sample{factor * (100e6 + v*1e6), factor * (50e6 + v*1e6)})
		}
		return s
	}
	report := &Report{
		Gocat: "gocat v1.2.3",
		Host: Host{Kernel: "Linux 6.1", CPU: "Some <CPU>", CPUs: 2, KVM: "/dev/kvm is kvm_amd (AMD-V): guests run natively",
			LoadBefore: [3]string{"0.10", "0.20", "0.30"}, LoadAfter: [3]string{"1.00", "0.50", "0.40"}},
		Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 12, Incomplete: "interrupted",
		Subjects: []Description{{"cat", "a cat"}, {"spt", "an spt guest"}, {"solo5-spt v1", "a peer"}, {"hvt", "an hvt guest"}},
	}
	for _, b := range benchmarks(false) {
		if b.name != "throughput/64KiB" && b.name != "throughput/1MiB" && b.name != "wake-up" {
			continue
		}
		result := Benchmark{Name: b.name, Title: b.title, About: b.about, Buffer: b.buffer}
		active := []*runs{{&subject{name: "cat"}, values(1)}, {own, values(0.5)}, {solo5, values(1)}}
		if b.name == "wake-up" {
			active = active[:2]
			result.Missing = []Missing{{"solo5-spt v1", "refused: no", false}, {"hvt", "wrong output: byte 7 is 0x01, not 0x00", true}}
		}
		r.summarise(b, &result, active)
		report.Benchmarks = append(report.Benchmarks, result)
	}
	return report
}

func TestFormats(t *testing.T) {
	r := sampleReport()
	for name, write := range map[string]func(*bytes.Buffer) error{
		"report.txt":   func(b *bytes.Buffer) error { return r.WriteTable(b) },
		"report.json":  func(b *bytes.Buffer) error { return r.WriteJSON(b) },
		"report.bench": func(b *bytes.Buffer) error { return r.WriteGo(b) },
		"report.html":  func(b *bytes.Buffer) error { return r.WriteHTML(b) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s differs from what the report is now (go test ./internal/bench -update writes it)", path)
		}
	}
}

func TestJSONIsWhole(t *testing.T) {
	want := sampleReport()
	var b bytes.Buffer
	if err := want.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	testhost.Documented(t, "bench.md", b.Bytes())
	got := new(Report)
	if err := json.Unmarshal(b.Bytes(), got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// What benchstat reads with is in the module that it comes from.
func TestGoFormat(t *testing.T) {
	var b bytes.Buffer
	if err := sampleReport().WriteGo(&b); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	reader := benchfmt.NewReader(&b, "report")
	for reader.Scan() {
		switch rec := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			t.Error(rec)
		case *benchfmt.Result:
			seen[string(rec.Name)]++
			if rec.GetConfig("kvm") == "" || rec.GetConfig("cpu") == "" || rec.GetConfig("kernel") == "" {
				t.Errorf("%s: no host", rec.Name)
			}
			if _, ok := rec.Value("sec/op"); !ok {
				t.Errorf("%s: no time in %+v", rec.Name, rec.Values)
			}
			if speed, ok := rec.Value("B/s"); ok != strings.HasPrefix(string(rec.Name), "Throughput") || ok && (speed < 9e9 || speed > 22e9) {
				t.Errorf("%s: speed %v, %v", rec.Name, speed, ok)
			}
		}
	}
	if err := reader.Err(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"Throughput/buffer=64KiB/by=cat", "Throughput/buffer=64KiB/by=solo5-spt-v1", "Throughput/buffer=1MiB/by=spt", "WakeUp/by=spt"} {
		if seen[name] != 8 {
			t.Errorf("%s: %d lines, want 8", name, seen[name])
		}
	}
}

// The page takes nothing from elsewhere, has no script, and hides no markup in
// what it shows.
func TestHTMLIsSelfContained(t *testing.T) {
	var b bytes.Buffer
	if err := sampleReport().WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, bad := range []string{"<script", "http:", "https:", "src=", "@import", "url(", "NaN", "Inf", "Some <CPU>"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for _, want := range []string{"Some &lt;CPU&gt;", "FAILED", "not measured: refused: no", "incomplete: interrupted", "kvm_amd", "<svg", "0.50x [0.50, 0.50]"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not contain %q", want)
		}
	}
}

// Rounds whose difference came out as less than nothing have no place on a
// logarithmic axis.
func TestHTMLOfNothing(t *testing.T) {
	base, values := upTo(20), upTo(20)
	for i := range 8 {
		values[i] = -1
	}
	ratio, ok := compare("base", values, base)
	if !ok || ratio.Low != 0 {
		t.Fatalf("%+v", ratio)
	}
	m := Metric{Name: "memory", Unit: bytesUnit, Rows: []Row{
		{Subject: "base", Estimate: estimate(base), Values: base},
		{Subject: "other", Estimate: estimate(values), Values: values, Ratios: []Ratio{ratio}},
	}}
	var b bytes.Buffer
	if err := (&Report{Benchmarks: []Benchmark{{Name: "idle", Base: "base", Metrics: []Metric{m}}}}).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"Inf", "NaN"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for _, row := range view(m, "base").Rows {
		if row.Low < 0 || row.Low+row.Width > 100 || row.Center < 0 || row.Center > 100 {
			t.Errorf("off the plot: %+v", row)
		}
	}
}

func TestFailures(t *testing.T) {
	got := sampleReport().Failures()
	if len(got) != 1 || got[0] != "wake-up: hvt: wrong output: byte 7 is 0x01, not 0x00" {
		t.Errorf("%q", got)
	}
}
