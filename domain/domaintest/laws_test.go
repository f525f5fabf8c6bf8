package domaintest_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/events"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("rapid.nofailfile", "true"); err != nil { // the failures below are wanted
		panic(err)
	}
	os.Exit(m.Run())
}

// toy is a run that can only be cancelled, and remembers why.
type toy struct {
	ended  bool
	output string
	times  *int
}

type decider = domain.Decider[toy, commands.Run, events.Run]

func sound() decider {
	return decider{
		Kind:    "run",
		Initial: func() toy { return toy{times: new(int)} },
		Evolve: func(s toy, e events.Run) toy {
			if _, ok := e.(events.RunCancelled); ok {
				s.ended = true
			}
			if c, ok := e.(events.StepCompleted); ok {
				s.output = string(c.Output)
			}
			return s
		},
		Decide: func(s toy, c commands.Run, _ time.Time) ([]events.Run, error) {
			if s.ended {
				return nil, nil
			}
			return []events.Run{events.RunCancelled{Reason: c.(commands.CancelRun).Reason}}, nil
		},
	}
}

// broken deciders, by what the laws say about them.
var broken = map[string]func() decider{
	"decided twice differs": func() decider {
		d, n := sound(), 0
		d.Decide = func(s toy, _ commands.Run, _ time.Time) ([]events.Run, error) {
			n++
			return []events.Run{events.RunCancelled{Reason: fmt.Sprint(n)}}, nil
		}
		return d
	},
	"changed the state": func() decider {
		d, inner := sound(), sound().Decide
		d.Decide = func(s toy, c commands.Run, now time.Time) ([]events.Run, error) {
			*s.times++
			return inner(s, c, now)
		}
		return d
	},
	"replay differs": func() decider {
		d := sound()
		d.Decide = func(s toy, _ commands.Run, _ time.Time) ([]events.Run, error) {
			if s.output != "" {
				return nil, nil
			}
			return []events.Run{events.StepCompleted{Output: json.RawMessage(`{ "a": 1 }`)}}, nil
		}
		return d
	},
	"decided again after its events": func() decider {
		d := sound()
		d.Decide = func(toy, commands.Run, time.Time) ([]events.Run, error) {
			return []events.Run{events.TokensSpent{}}, nil
		}
		return d
	},
	"after the end": func() decider {
		d, inner := sound(), sound().Decide
		d.Decide = func(s toy, c commands.Run, now time.Time) ([]events.Run, error) {
			late := now.After(domaintest.Epoch.Add(time.Second))
			switch {
			case s.ended && late && s.output == "":
				return []events.Run{events.StepCompleted{Output: json.RawMessage(`1`)}}, nil
			case late:
				return nil, nil
			}
			return inner(s, c, now)
		}
		return d
	},
	"keys destroyed": func() decider {
		d := sound()
		d.Evolve = func(s toy, e events.Run) toy {
			if c, ok := e.(events.RunCancelled); ok {
				s.ended = c.Reason != ""
			}
			return s
		}
		return d
	},
	"nil pointer": func() decider {
		d, inner := sound(), sound().Evolve
		d.Evolve = func(s toy, e events.Run) toy {
			if f, ok := e.(events.StepFailed); ok {
				s.ended = s.ended || f.RetryAt.IsZero()
			}
			return inner(s, e)
		}
		return d
	},
}

func model(d decider) domaintest.Model[toy, commands.Run, events.Run] {
	return domaintest.Model[toy, commands.Run, events.Run]{
		Decider: d,
		Next:    func(*rapid.T, toy) commands.Run { return commands.CancelRun{Reason: "why"} },
		Control: func(s toy) any { return s.ended },
		Ended:   func(s toy) bool { return s.ended },
	}
}

func TestTheLawsLetASoundDeciderPass(t *testing.T) {
	t.Parallel()
	domaintest.Laws(t, model(sound()))
}

func TestTheLawsFindEveryKindOfBrokenDecider(t *testing.T) {
	t.Parallel()
	for says, make := range broken {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			c := &catcher{TB: t}
			c.run(func() { domaintest.Laws(c, model(make())) })
			if said := c.said.String(); !strings.Contains(said, says) {
				t.Errorf("the laws said: %q", said)
			}
		})
	}
}

// catcher takes failures in place of a test.
type catcher struct {
	testing.TB
	mu   sync.Mutex
	said strings.Builder // guarded by mu
}

func (c *catcher) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (c *catcher) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(&c.said, format+"\n", args...)
}

func (c *catcher) Helper()                           {}
func (c *catcher) Log(args ...any)                   { c.note("%s", fmt.Sprint(args...)) }
func (c *catcher) Logf(format string, args ...any)   { c.note(format, args...) }
func (c *catcher) Error(args ...any)                 { c.note("%s", fmt.Sprint(args...)) }
func (c *catcher) Errorf(format string, args ...any) { c.note(format, args...) }
func (c *catcher) Fatal(args ...any)                 { c.note("%s", fmt.Sprint(args...)); runtime.Goexit() }
func (c *catcher) Fatalf(format string, args ...any) { c.note(format, args...); runtime.Goexit() }
func (c *catcher) FailNow()                          { runtime.Goexit() }
func (c *catcher) Fail()                             {}
