package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	v1 "github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/internal/watch"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

// screen is what is known of the output: whether it is a terminal, and how wide.
type screen struct {
	out io.Writer
	watch.Options
}

func newScreen(out io.Writer) screen {
	s := screen{out: out}
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.Terminal = true
	s.Colour = os.Getenv("NO_COLOR") == ""
	if w, h, err := term.GetSize(int(f.Fd())); err == nil {
		s.Width, s.Height = w, h
	}
	return s
}

// starting shows what a start waits for: a bar in a terminal, else a line when
// the subject changes.
type starting struct {
	screen
	mu   sync.Mutex
	last string
	unit string // of what is counted; MB if empty
}

const barWidth = 30

func (s *starting) show(what string, done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := what != s.last
	s.last = what
	switch {
	case s.Terminal && total > 0:
		full, unit := int(done*barWidth/total), s.unit
		if unit == "" {
			done, total, unit = done>>20, total>>20, "MB"
		}
		s.print("\r\x1b[K%s [%-*s] %d of %d %s", what, barWidth, bar(full), done, total, unit)
	case s.Terminal:
		s.print("\r\x1b[K%s …", what)
	case changed:
		s.print("%s\n", what)
	}
}

func (s *starting) done() {
	if s.Terminal {
		s.print("\r\x1b[K")
	}
}

// print is for progress only: if the output is gone, the work goes on.
func (s *starting) print(format string, args ...any) {
	if _, err := fmt.Fprintf(s.out, format, args...); err != nil {
		s.Terminal = false
	}
}

func bar(n int) string {
	const full = "##############################"
	return full[:min(max(n, 0), len(full))]
}

// follow shows a run until it has ended, and returns it with its outputs.
func (s screen) follow(ctx context.Context, c *hishamos.Client, id string) (v1.Run, error) {
	view := watch.New(s.out, s.Options)
	updates, ended := make(chan v1.Run), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		ended <- c.FollowRun(ctx, id, 0, func(u hishamos.Update) error {
			if u.Run == nil {
				return nil
			}
			select {
			case updates <- *u.Run:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var err error
		select {
		case r := <-updates:
			err = view.Show(r)
		case <-tick.C:
			err = view.Tick()
		case err := <-ended:
			if err != nil {
				return v1.Run{}, err
			}
			return c.Run(ctx, id, "")
		}
		if err != nil {
			return v1.Run{}, err
		}
	}
}
