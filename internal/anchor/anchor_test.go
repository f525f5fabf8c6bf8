package anchor_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/anchor"
	"github.com/hishamos/hishamos/internal/checkpoint"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/log/kafka"
	logmemory "github.com/hishamos/hishamos/internal/log/memory"
)

const origin = "hishamos/0193f4d2-0000-7000-8000-000000000001"

// notes are checkpoints at 10, 20, …; what they say of a log does not matter here.
func notes(t *testing.T, n int) []checkpoint.Signed {
	t.Helper()
	key, err := checkpoint.NewKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]checkpoint.Signed, n)
	for i := range out {
		at := time.Date(2026, 11, 22, 3, 4, i, 0, time.UTC)
		if out[i], err = (checkpoint.Keys{key}).Sign(checkpoint.Checkpoint{Origin: origin, Position: domain.Position(10 * (i + 1)), Time: at}, ""); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func read(t *testing.T, a checkpoint.Source) []checkpoint.Signed {
	t.Helper()
	var out []checkpoint.Signed
	for n, err := range a.Read(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

func same(t *testing.T, got, want []checkpoint.Signed) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d checkpoints, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Text != want[i].Text {
			t.Fatalf("checkpoint %d:\n%s\nwant\n%s", i, got[i].Text, want[i].Text)
		}
	}
}

func git(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// repository is an empty one, bare if it is to be pushed to.
func repository(t *testing.T, more ...string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	dir := t.TempDir()
	git(t, append(append([]string{"init", "--quiet"}, more...), dir)...)
	return dir
}

func TestEveryAnchorKeepsWhatItWasGiven(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) checkpoint.Anchor{
		"file": func(t *testing.T) checkpoint.Anchor {
			return anchor.NewFile(filepath.Join(t.TempDir(), "notes"), true)
		},
		"git": func(t *testing.T) checkpoint.Anchor { return anchor.NewGit(repository(t), "", origin, true) },
		"git that is pushed": func(t *testing.T) checkpoint.Anchor {
			clone := repository(t)
			git(t, "-C", clone, "remote", "add", "vault", repository(t, "--bare"))
			return anchor.NewGit(clone, "vault", origin, true)
		},
		"kafka in memory": func(*testing.T) checkpoint.Anchor {
			l := logmemory.New()
			return anchor.NewKafka("hishamos.checkpoints", true, func(context.Context) (log.Log, error) { return l, nil })
		},
		"kafka": func(t *testing.T) checkpoint.Anchor {
			brokers := os.Getenv("HISHAMOS_TEST_KAFKA")
			if brokers == "" {
				t.Skip("HISHAMOS_TEST_KAFKA is not set")
			}
			l, err := kafka.Open(t.Context(), kafka.Options{Brokers: strings.Split(brokers, ","), ReplicationFactor: 1, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			topic := "hishamos.test.checkpoints." + uuid.NewString()
			t.Cleanup(func() {
				if err := errors.Join(l.Delete(context.WithoutCancel(t.Context()), topic), l.Close()); err != nil {
					t.Error(err)
				}
			})
			return anchor.NewKafka(topic, true, func(context.Context) (log.Log, error) { return l, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, all := open(t), notes(t, 300)
			if _, ok, err := a.Newest(t.Context()); ok || err != nil {
				t.Fatalf("an empty anchor has a newest: %v", err)
			}
			same(t, read(t, a), nil)
			for _, part := range [][]checkpoint.Signed{all[:1], all[1:3], all[3:]} {
				if err := a.Append(t.Context(), part); err != nil {
					t.Fatal(err)
				}
				newest, ok, err := a.Newest(t.Context())
				if !ok || err != nil {
					t.Fatalf("newest: %v, %v", ok, err)
				}
				same(t, []checkpoint.Signed{newest}, part[len(part)-1:])
			}
			same(t, read(t, a), all)
			for n, err := range a.Read(t.Context()) { // a reader may stop early
				if err != nil || n.Text != all[0].Text {
					t.Errorf("the first: %v, %v", n, err)
				}
				break
			}
			if !a.Outside() || a.Name() == "" {
				t.Error("it does not say what it is")
			}
		})
	}
}

func TestAPlaceThatIsNotThereIsSaidNotToAnswer(t *testing.T) {
	t.Parallel()
	nowhere := filepath.Join(t.TempDir(), "not", "mounted")
	refuse := errors.New("no route to host")
	for _, a := range []checkpoint.Anchor{
		anchor.NewFile(nowhere, true),
		anchor.NewGit(nowhere, "", origin, true),
		anchor.NewKafka("c", true, func(context.Context) (log.Log, error) { return nil, refuse }),
	} {
		var got error
		for _, err := range a.Read(t.Context()) {
			got = err
		}
		if !errors.Is(got, checkpoint.ErrUnread) || !strings.Contains(got.Error(), a.Name()) {
			t.Errorf("%s: read: %v", a.Name(), got)
		}
		if err := a.Append(t.Context(), notes(t, 1)); !errors.Is(err, checkpoint.ErrUnread) {
			t.Errorf("%s: append: %v", a.Name(), err)
		}
	}
}

func TestAnInterruptedAppendToAFileIsFinished(t *testing.T) {
	t.Parallel()
	all := notes(t, 200)
	whole := checkpoint.Write(all[:150])
	for cut := len(whole) - 1500; cut < len(whole); cut += 41 {
		path := filepath.Join(t.TempDir(), "notes")
		if err := os.WriteFile(path, []byte(whole[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		a := anchor.NewFile(path, false)
		newest, ok, err := a.Newest(t.Context())
		if !ok || err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		from := int(newest.Position / 10)
		same(t, read(t, a), all[:from])
		if err := a.Append(t.Context(), all[from:]); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		same(t, read(t, a), all)
	}
}

func TestAFileThatEndsInSomethingElseIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	all := notes(t, 2)
	path := filepath.Join(t.TempDir(), "notes")
	before := checkpoint.Write(all[:1]) + "something else"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := anchor.NewFile(path, false).Append(t.Context(), all[1:]); !errors.Is(err, checkpoint.ErrForm) {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != before {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

func TestWhatIsPushedIsReadFromTheRemote(t *testing.T) {
	t.Parallel()
	vault, clone := repository(t, "--bare"), repository(t)
	git(t, "-C", clone, "remote", "add", "vault", vault)
	all := notes(t, 3)
	a := anchor.NewGit(clone, "vault", origin, true)
	if err := a.Append(t.Context(), all[:2]); err != nil {
		t.Fatal(err)
	}
	// Whoever owns the clone makes its branch forget.
	git(t, "-C", clone, "update-ref", "-d", "refs/heads/"+origin)
	same(t, read(t, a), all[:2])
	if err := a.Append(t.Context(), all[2:]); err != nil {
		t.Fatal(err)
	}
	same(t, read(t, anchor.NewGit(vault, "", origin, true)), all)
}
