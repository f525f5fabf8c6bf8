package embedded

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// leastMajor is the oldest Postgres the program works with.
const leastMajor = 15

// programs is a folder with postgres and initdb of one version.
type programs struct {
	dir   string
	major int
}

func (p programs) path(name string) string { return filepath.Join(p.dir, name) }

// places are where systems put the programs: Debian, Red Hat, Homebrew,
// Postgres.app. The newest version found anywhere wins.
var places = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/local/pgsql/bin",
}

// findPrograms picks the programs: those that were asked for, else those of the
// machine, else those that were fetched or can be. major is the version of the
// data that is there, which no other version can read; 0 if there is none.
func (p *Postgres) findPrograms(ctx context.Context, major int) (programs, error) {
	if p.opts.Binaries != "" {
		if err := p.as.checkReachable(p.opts.Binaries, "HISHAMOS_POSTGRES_BIN"); err != nil {
			return programs{}, err
		}
		found, err := p.probe(ctx, p.opts.Binaries)
		if err != nil {
			return programs{}, domain.InvalidField("HISHAMOS_POSTGRES_BIN", err.Error(), "name the folder that holds postgres and initdb, such as /usr/lib/postgresql/17/bin")
		}
		return found, p.fits(found, major)
	}
	var found []programs
	for _, dir := range p.candidates() {
		if p.as.checkReachable(dir, "") != nil {
			continue // such as a version manager in root's home
		}
		if c, err := p.probe(ctx, dir); err == nil && c.major >= leastMajor && (major == 0 || c.major == major) {
			found = append(found, c)
		}
	}
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b programs) int { return a.major - b.major }), nil
	}
	f := newFetcher(p.opts)
	if major != 0 && major != f.release.major() {
		return programs{}, p.fits(programs{}, major)
	}
	dir, err := f.fetch(ctx)
	if err != nil {
		return programs{}, err
	}
	if err := p.as.checkReachable(dir, "HISHAMOS_DATA"); err != nil {
		return programs{}, err
	}
	return p.probe(ctx, dir)
}

func (p *Postgres) candidates() []string {
	var dirs []string
	for _, pattern := range places {
		found, err := filepath.Glob(pattern)
		if err != nil { // a mistake in places, seen by every test
			panic(err)
		}
		dirs = append(dirs, found...)
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	return dirs
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// probe asks the programs in a folder which version they are.
func (p *Postgres) probe(ctx context.Context, dir string) (programs, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	found := programs{dir: dir}
	for _, name := range []string{"initdb", "postgres"} {
		cmd := exec.Command(found.path(name), "--version")
		cmd.Dir, cmd.Env = "/", p.environment()
		output, err := run(ctx, cmd, p.as, "")
		if err != nil {
			return programs{}, fmt.Errorf("%s does not run: %w %s", found.path(name), err, strings.TrimSpace(output))
		}
		m := versionText.FindStringSubmatch(output)
		if m == nil {
			return programs{}, fmt.Errorf("%s is not of Postgres: it says %q", found.path(name), output)
		}
		if found.major, err = strconv.Atoi(m[1]); err != nil {
			return programs{}, fmt.Errorf("%s: %w", found.path(name), err)
		}
	}
	return found, nil
}

// fits refuses programs that cannot serve the data.
func (p *Postgres) fits(found programs, major int) error {
	switch {
	case major != 0 && found.major != major:
		have := "no such version was found on this machine"
		if found.major != 0 {
			have = fmt.Sprintf("%s is version %d", found.dir, found.major)
		}
		return &domain.Error{
			Kind: domain.Conflict, Code: "postgres.other_version",
			Message: fmt.Sprintf("the data in %s was made by Postgres %d, which no other version reads, and %s; nothing was changed", p.data, major, have),
			Fix:     fmt.Sprintf("install Postgres %d, or name its folder with HISHAMOS_POSTGRES_BIN", major),
		}
	case found.major < leastMajor:
		return domain.InvalidField("HISHAMOS_POSTGRES_BIN", fmt.Sprintf("%s is Postgres %d", found.dir, found.major), fmt.Sprintf("use version %d or later", leastMajor))
	}
	return nil
}
