package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/config"
)

// alone is an installation with an embedded Postgres and an embedded log whose
// disks can be filled and damaged.
type alone struct {
	t    *testing.T
	data string
	said *journal // what its processes log
	set  []string
}

func newAlone(t *testing.T, set ...string) *alone {
	t.Helper()
	data, err := dataFolder(t.Cleanup)
	if err != nil {
		t.Fatal(err)
	}
	// The real ends of the disk are to be met, not the limit before them.
	return &alone{t: t, data: data, said: &journal{}, set: append(set, "HISHAMOS_MIN_FREE_DISK=1KB")}
}

// open opens a node on the folder.
func (a *alone) open() (*node, error) {
	cfg, err := config.Load(append([]string{"HISHAMOS_DATA=" + a.data, "HISHAMOS_LISTEN=127.0.0.1:0", "HISHAMOS_LOG_RETAIN=all", express()}, a.set...))
	if err != nil {
		a.t.Fatal(err)
	}
	return openNode(a.t.Context(), cfg, slog.New(slog.NewTextHandler(a.said, nil)), noProgress, fails)
}

// start runs all that carries events; nobody reacts to them, so that the log
// stands still when nothing is asked for.
func (a *alone) start() *process {
	a.t.Helper()
	n, err := a.open()
	if err != nil {
		a.t.Fatal(err)
	}
	p := &process{node: n, t: a.t}
	stopped := false
	p.stop = func() {
		if !stopped {
			stopped = true
			if err := n.close(context.Background()); err != nil {
				a.t.Errorf("close: %v", err)
			}
		}
	}
	p.must(p.connect(a.t.Context()))
	p.run((*node).runRelay, (*node).runProjections, func(n *node, ctx context.Context) error {
		if err := n.broker.Watch(ctx); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}, func(n *node, ctx context.Context) error {
		if err := n.postgres.Supervise(ctx, n.logger); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	a.t.Cleanup(func() { p.stop() })
	return p
}

// says waits until the log names something.
func (a *alone) says(p *process, words ...string) {
	a.t.Helper()
	for _, w := range words {
		p.eventually("the log says "+w, func() bool { return strings.Contains(a.said.String(), w) })
	}
}

// volume mounts a file system of its own at a folder of the installation, with
// what the folder holds.
func (a *alone) volume(size string, path ...string) *volume {
	a.t.Helper()
	at := filepath.Join(append([]string{a.data}, path...)...)
	missing := ""
	if os.Getuid() != 0 {
		missing = "only root can mount a volume that can be filled"
	}
	info, err := os.Stat(at)
	switch {
	case os.IsNotExist(err):
		if err := os.MkdirAll(at, 0o700); err != nil {
			a.t.Fatal(err)
		}
		info, err = os.Stat(at)
		fallthrough
	default:
		if err != nil {
			a.t.Fatal(err)
		}
	}
	kept := at + ".kept"
	if missing == "" {
		if err := errors.Join(os.Rename(at, kept), os.Mkdir(at, info.Mode().Perm())); err != nil {
			a.t.Fatal(err)
		}
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", at).CombinedOutput(); err != nil {
			missing = "no volume can be mounted here: " + strings.TrimSpace(string(out))
		}
	}
	if missing != "" {
		a.t.Skip(missing)
	}
	a.t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", at).CombinedOutput(); err != nil {
			a.t.Errorf("umount: %v: %s", err, out)
		}
	})
	copyFolder(a.t, kept, at)
	err = errors.Join(os.Chmod(at, info.Mode().Perm()), copyOwner(at, info), os.RemoveAll(kept))
	if err != nil {
		a.t.Fatal(err)
	}
	return &volume{a.t, at}
}

type volume struct {
	t  *testing.T
	at string
}

func (v *volume) filler() string { return filepath.Join(v.at, "filler") }

// fill takes all space there is.
func (v *volume) fill() {
	v.t.Helper()
	f, err := os.Create(v.filler())
	if err != nil {
		v.t.Fatal(err)
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		v.t.Fatalf("fill %s: %v", v.at, err)
	}
	if err := f.Close(); err != nil {
		v.t.Fatal(err)
	}
}

// free gives it back.
func (v *volume) free() {
	v.t.Helper()
	if err := os.Remove(v.filler()); err != nil {
		v.t.Fatal(err)
	}
}

// sound fails unless everything is published, in order, projected and chained.
func (p *process) sound() {
	p.t.Helper()
	head := p.head()
	live := p.quiesce()
	p.verifyAll()
	p.onKafkaAsInStore()
	p.must(p.operation(nil, rebuildAll))
	same(p.t, "digests after a rebuild", p.quiesce(), live)
	same(p.t, "heads", p.head().Position, head.Position)
}

// attempt carries out a command under an id, once.
func (p *process) attempt(id string, c commands.Command) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), reconnectPatience)
	defer cancel()
	_, err := p.dispatcher.Do(ctx, commands.Request{ID: domain.CommandID(id), Principal: system("drill"), Command: c})
	return err
}

func TestWhileTheEmbeddedLogsDiskIsFullCommandsAreAcceptedAndItCatchesUp(t *testing.T) {
	t.Parallel()
	a := newAlone(t, "HISHAMOS_RELAY_LAG_LIMIT=200")
	disk := a.volume("16m", "kafka")
	p := a.start()
	p.fill(5)
	p.quiesce()
	published := p.position()
	disk.fill()
	p.fill(20) // five events each
	a.says(p, "relay is interrupted", "no space left on device")
	limited, stop := context.WithCancel(t.Context())
	defer stop()
	watching := p.beside(limited, "limits", func(ctx context.Context) error { n := p.node; n.watchLimits(ctx); return nil })
	defer watching()
	var refused error
	p.eventually("new work is refused above the lag", func() bool {
		refused = p.attempt(uuid.NewString(), startDrill(drillRun()))
		return refused != nil
	})
	if domain.KindOf(refused) != domain.Unavailable || !strings.Contains(refused.Error(), "wait to be published") {
		t.Errorf("refused with %v", refused)
	}
	if at, err := p.mark(t.Context()); err != nil || at.Position > published+100 {
		t.Errorf("published up to %d, %v", at.Position, err)
	}
	disk.free()
	p.sound()
	p.eventually("new work is accepted", func() bool { return p.attempt(uuid.NewString(), startDrill(drillRun())) == nil })
}

func TestAPostgresWhoseDiskWasFullGoesOnByItselfAndHasLostNothing(t *testing.T) {
	t.Parallel()
	for name, path := range map[string][]string{"all its data": {"postgres", "data"}, "its journal": {"postgres", "data", "pg_wal"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAlone(t)
			a.start().stop() // makes the data
			disk := a.volume("256m", path...)
			p := a.start()
			p.fill(5)
			disk.fill()
			var kept []domain.StreamID
			var refused error
			p.eventually("a command is refused", func() bool {
				for range 50 {
					run := drillRun()
					if err := p.attempt(string(run), startDrill(run)); err != nil {
						refused = err
						return true
					}
					kept = append(kept, run)
				}
				return false
			})
			if k := domain.KindOf(refused); k != domain.Unavailable && k != domain.Unknown {
				t.Errorf("refused with %v (%v)", refused, k)
			}
			t.Logf("%d commands were acknowledged, then: %v", len(kept), refused)
			disk.free()
			p.eventually("commands are accepted again", func() bool {
				run := drillRun()
				if p.attempt(string(run), startDrill(run)) != nil {
					return false
				}
				kept = append(kept, run)
				return true
			})
			p.sound()
			for _, run := range kept {
				records, err := p.store.ReadStream(t.Context(), run, 0, 1)
				if err != nil || len(records) == 0 {
					t.Errorf("%s was acknowledged and is lost: %v", run, err)
				}
			}
		})
	}
}
