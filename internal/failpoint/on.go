//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// order is what happens at a mark.
type order struct {
	action string
	pause  time.Duration
	at     int // the hit, from 1; 0: each
}

// board is what this process was told, and what it has come by.
type board struct {
	orders map[string]order
	log    *os.File

	mu   sync.Mutex
	hits map[string]int
}

// armed reads the environment once. A mistake in it ends the process: a test
// that arms nothing proves nothing.
var armed = sync.OnceValue(func() *board {
	b := &board{orders: make(map[string]order), hits: make(map[string]int)}
	for text := range strings.SplitSeq(os.Getenv(EnvArm), ";") {
		if text == "" {
			continue
		}
		name, o, err := parse(text)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", EnvArm, err))
		}
		b.orders[name] = o
	}
	if path := os.Getenv(EnvLog); path != "" {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", EnvLog, err))
		}
		b.log = f
	}
	return b
})

func parse(text string) (name string, o order, err error) {
	name, what, _ := strings.Cut(text, "=")
	known := false
	for _, p := range Names() {
		known = known || p.Name == name
	}
	if !known {
		return name, o, fmt.Errorf("there is no failpoint %q", name)
	}
	what, at, counted := strings.Cut(what, "@")
	if counted {
		if o.at, err = strconv.Atoi(at); err != nil || o.at < 1 {
			return name, o, fmt.Errorf("%q: %q is not a hit, from 1", text, at)
		}
	}
	var pause string
	o.action, pause, _ = strings.Cut(what, ":")
	switch o.action {
	case "kill", "stop", "error":
	case "sleep":
		if o.pause, err = time.ParseDuration(pause); err != nil {
			return name, o, fmt.Errorf("%q: %w", text, err)
		}
	default:
		return name, o, fmt.Errorf("%q: there is no action %q", text, o.action)
	}
	return name, o, nil
}

// come counts a hit and returns what is to happen at it, if anything.
func (b *board) come(name string) (order, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hits[name]++
	if b.hits[name] == 1 {
		b.note("hit", name)
	}
	o, ok := b.orders[name]
	if !ok || o.at != 0 && o.at != b.hits[name] {
		return o, false
	}
	b.note(o.action, name)
	return o, true
}

func (b *board) note(what, name string) {
	if b.log == nil {
		return
	}
	if _, err := fmt.Fprintf(b.log, "%d %s %s\n", os.Getpid(), what, name); err != nil {
		panic(fmt.Sprintf("%s: %v", EnvLog, err))
	}
}

// Hit does what this process was told to do here.
func Hit(name string) {
	if err := Err(name); err != nil {
		panic(err) // the mark has no caller that takes an error
	}
}

// Err is Hit at a place where an error can be returned.
func Err(name string) error {
	o, now := armed().come(name)
	if !now {
		return nil
	}
	switch o.action {
	case "kill":
		signal(syscall.SIGKILL)
		select {}
	case "stop":
		signal(syscall.SIGSTOP)
	case "sleep":
		time.Sleep(o.pause)
	case "error":
		return fmt.Errorf("failpoint %s", name)
	}
	return nil
}

func signal(s syscall.Signal) {
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		panic(fmt.Sprintf("signal %s to ourselves: %v", s, err))
	}
}
