// Command servers runs well-known servers and their clients in one program, over
// the loopback, with requests from several connections at once:
//
//	servers [-n REQUESTS] [-clients N] [-busy LOOPS] [NAME...]
//
// Or it is one of the servers, until SIGTERM, or the clients of one:
//
//	servers -serve ADDRESS:PORT NAME
//	servers -ask ADDRESS:PORT [-n REQUESTS] [-clients N] NAME
//
// It is a module of its own: its dependencies are no concern of gocat.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// server starts a server on a listener's address and returns what makes a client,
// whose calls are requests.
type server struct {
	name  string
	start func() (newClient func() (request func(i int) error, err error), err error)
}

var servers = []server{
	{"chi", startChi}, {"https", startHTTPS}, {"prometheus", startPrometheus}, {"websocket", startWebSocket},
	{"dns", startDNS}, {"grpc", startGRPC}, {"nats", startNATS}, {"ssh", startSSH},
	{"gin", startGin}, {"wazero", startWazero}, {"sqlite", startSQLite},
}

func main() {
	n := flag.Int("n", 1000, "`REQUESTS` to each server")
	clients := flag.Int("clients", 8, "`CLIENTS` at the same time; beside loops each waits long, so many get on faster")
	busy := flag.Int("busy", 0, "`LOOPS` that compute meanwhile")
	verbose := flag.Bool("v", false, "say how long each took, and what memory is in use")
	flag.StringVar(&serving, "serve", "", "be the server at `ADDRESS:PORT`, without clients")
	flag.StringVar(&asking, "ask", "", "be the clients of the server at `ADDRESS:PORT`")
	flag.Parse()
	for range *busy {
		go func() {
			for x := 1; ; x = x*5 + 1 {
			}
		}()
	}
	for _, s := range servers {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), s.name) {
			continue
		}
		if serving != "" {
			serve(s)
			return
		}
		begin := time.Now()
		if err := s.run(*n, *clients); err != nil {
			fmt.Printf("%s: %v\n", s.name, err)
			os.Exit(1)
		}
		fmt.Printf("%s: %d requests\n", s.name, *n)
		if *verbose {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			fmt.Printf("%s: %.1f s, heap %d KiB, %d goroutines\n", s.name, time.Since(begin).Seconds(), m.HeapAlloc>>10, runtime.NumGoroutine())
		}
	}
}

func (s server) run(n, clients int) error {
	newClient, err := s.start()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	for c := range clients {
		request, err := newClient()
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		wg.Go(func() {
			for i := c; i < n; i += clients {
				if err := request(i); err != nil {
					errs <- fmt.Errorf("request %d: %w", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// serve is a server until a signal asks it to end.
func serve(s server) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if _, err := s.start(); err != nil {
		fmt.Printf("%s: %v\n", s.name, err)
		os.Exit(1)
	}
	fmt.Printf("%s: ready\n", s.name)
	<-ctx.Done()
	fmt.Printf("%s: ended\n", s.name)
}

// Where the server is, if not in this process with its clients.
var serving, asking string

// local is where servers listen.
func local() string {
	if serving != "" {
		return serving
	}
	return "127.0.0.1:0"
}

func listen() net.Listener {
	if asking != "" {
		return elsewhere{}
	}
	l, err := net.Listen("tcp", local())
	if err != nil {
		panic(err)
	}
	return l
}

// elsewhere is the listener of a server in another process.
type elsewhere struct{}

func (elsewhere) Accept() (net.Conn, error) { select {} }
func (elsewhere) Close() error              { return nil }
func (elsewhere) Addr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", asking)
	if err != nil {
		panic(err)
	}
	return a
}

// same is an error unless an answer is what was expected.
func same(got, want string) error {
	if got != want {
		return fmt.Errorf("got %.100q, want %.100q", got, want)
	}
	return nil
}
