// Command httpd is a web server as a unikernel: net/http on gVisor's network
// stack, which has the network device service for itself.
//
//	gocat build --net service ./examples/httpd
//	gocat run --net service=tap100 httpd.spt --addr 10.0.0.2/24
//
// It answers / with a greeting and /stats with a count of requests and what
// memory it uses. POST to /echo returns what was sent.
package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

func main() {
	addr := flag.String("addr", "10.0.0.2/24", "this server's `ADDRESS/BITS`")
	gateway := flag.String("gateway", "", "`ADDRESS` of the router to other networks")
	port := flag.Uint("port", 80, "TCP `PORT` to listen on")
	device := flag.String("device", "service", "`NAME` of the network device")
	flag.Parse()
	if err := serve(*device, *addr, *gateway, uint16(*port)); err != nil {
		fmt.Fprintln(os.Stderr, "httpd:", err)
		os.Exit(1)
	}
}

func serve(device, addr, gateway string, port uint16) error {
	prefix, err := netip.ParsePrefix(addr)
	if err != nil {
		return err
	}
	var router netip.Addr
	if gateway != "" {
		if router, err = netip.ParseAddr(gateway); err != nil {
			return err
		}
	}
	l, err := listen(device, prefix, router, port)
	if err != nil {
		return err
	}
	fmt.Printf("httpd: listening on http://%v:%d\n", prefix.Addr(), port)
	s := http.Server{Handler: handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	return s.Serve(l)
}

func handler() http.Handler {
	var requests atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "Hello from a Go program without an operating system")
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() // answers while there is more to read
		const most = 128 << 20
		if _, err := io.Copy(w, http.MaxBytesReader(w, r.Body, most)); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprintf(w, "requests %d\nheap %d bytes\ngoroutines %d\n", requests.Load(), m.HeapAlloc, runtime.NumGoroutine())
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		mux.ServeHTTP(w, r)
	})
}
