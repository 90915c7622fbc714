// Command web is a web server that knows nothing of unikernels: net/http as
// everywhere. As one it serves on its network device, service:
//
//	gocat build ./examples/web
//	gocat run --net service=tap100 web.spt --ipv4=10.0.0.2/24
//
// GET / answers with a greeting and /stats with a count of requests and what
// memory is used; POST to /echo returns what was sent.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"
)

func main() {
	addr := flag.String("addr", ":80", "`ADDRESS` to listen on")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatalln("web:", err)
	}
	fmt.Println("web: listening on", l.Addr())
	s := http.Server{Handler: handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	log.Fatalln("web:", s.Serve(l))
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
