package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/domain"
)

// segment is the oldest file of a partition of the embedded log.
func (a *alone) segment(partition int) string {
	a.t.Helper()
	files, err := filepath.Glob(filepath.Join(a.data, "kafka", "partitions", fmt.Sprintf("hishamos.run.events-%d", partition), "*.dat"))
	if err != nil || len(files) == 0 {
		a.t.Fatalf("partition %d has no files: %v", partition, err)
	}
	slices.Sort(files)
	return files[0]
}

// damages are what can happen to a file of the log.
var damages = []func(path string) error{
	func(path string) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		b := make([]byte, 64)
		_, err = f.ReadAt(b, 200)
		for i := range b {
			b[i] ^= 0xff
		}
		_, werr := f.WriteAt(b, 200)
		return errors.Join(err, werr, f.Close())
	},
	func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, info.Size()/2)
	},
	os.Remove,
}

func TestDamagedFilesOfTheEmbeddedLogAreNamedAndMendedFromTheStore(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			t.Parallel()
			a := newAlone(t)
			p := a.start()
			p.fill(60)
			p.quiesce()
			if !running {
				p.stop()
			}
			for partition, damage := range damages { // flipped, cut short, removed
				if err := damage(a.segment(partition)); err != nil {
					t.Fatal(err)
				}
			}
			if running {
				p.fill(20) // is accepted, whatever becomes of the log
				a.says(p, "a file of the embedded log was damaged")
			} else {
				p = a.start()
			}
			p.fill(5)
			p.sound()
			for partition := range damages {
				if name := fmt.Sprintf("hishamos.run.events-%d", partition); !strings.Contains(a.said.String(), name+" ") && !strings.Contains(a.said.String(), strings.Replace(name, "-", "/", 1)) {
					t.Errorf("%s is not named in\n%s", name, a.said)
				}
			}
		})
	}
}

func TestADamagedPostgresIsNamedAndTheLogLeftAlone(t *testing.T) {
	t.Parallel()
	a := newAlone(t)
	p := a.start()
	p.fill(5)
	p.quiesce()
	p.stop()
	kept := folderOf(t, filepath.Join(a.data, "kafka"))
	for _, gone := range []string{"global/pg_control", "PG_VERSION", "pg_xact", "base"} {
		file := filepath.Join(a.data, "postgres", "data", filepath.FromSlash(gone))
		if err := os.Rename(file, file+".away"); err != nil {
			t.Fatal(err)
		}
		_, err := a.open()
		var known *domain.Error
		if !errors.As(err, &known) || known.Code != "data.damaged" || !strings.Contains(err.Error(), gone) {
			t.Errorf("start without %s: %v", gone, err)
		}
		same(t, "the log without "+gone, folderOf(t, filepath.Join(a.data, "kafka")), kept)
		if err := os.Rename(file+".away", file); err != nil {
			t.Fatal(err)
		}
	}
	a.start().sound()
}

// folderOf is what a folder holds, by name.
func folderOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
