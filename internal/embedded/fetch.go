package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/hishamos/hishamos/domain"
)

const mavenCentral = "https://repo1.maven.org/maven2"

// release is one build of Postgres on Maven: a jar with a .txz inside.
type release struct {
	platform, version string
	sha256            string // of the jar
}

// releases are the builds of zonky's embedded-postgres-binaries that may be
// fetched, one per platform, each pinned by its content.
var releases = []release{
	{"linux-amd64", "18.4.0", "401d4e69baba9072d3772607710df0d47b39a7632c6b01b2a5f5d85a9514e212"},
	{"linux-amd64-alpine", "18.4.0", "fe42b1e2a60eb4c50f6859bf17e933fd87f6ad701a1e72ac54070a67acc58e14"},
	{"linux-arm64v8", "18.4.0", "a9ec284923b9a7d2db41509bfb88c3d0eeb9f4aa5e2b29ea0aac5e8dbaf4c335"},
	{"darwin-amd64", "18.4.0", "68381ed1488edd337345c6c4bc6ae0c823832a4dd7af8b04656ee5c218c291b5"},
	{"darwin-arm64v8", "18.4.0", "ab698c4486a795d2aa8a158b3a41e1201a77e7ff72a6255094cd5900080853c2"},
}

// platform is the name of this machine's kind on Maven.
func platform() string {
	arch := map[string]string{"amd64": "amd64", "arm64": "arm64v8"}[runtime.GOARCH]
	name := runtime.GOOS + "-" + arch
	if musl, err := filepath.Glob("/lib/ld-musl-*"); err == nil && len(musl) > 0 && runtime.GOOS == "linux" {
		name += "-alpine" // built for musl instead of glibc
	}
	return name
}

func (r release) artifact() string { return "embedded-postgres-binaries-" + r.platform }

func (r release) jar() string { return r.artifact() + "-" + r.version + ".jar" }

func (r release) major() int {
	major, _, _ := strings.Cut(r.version, ".")
	n, err := strconv.Atoi(major)
	if err != nil { // no release: no version fits
		return 0
	}
	return n
}

// fetcher brings a release to this machine, once.
type fetcher struct {
	release  release // zero when there is none for this platform
	maven    string
	cache    string
	progress func(done, total int64)
}

func newFetcher(opts PostgresOptions) fetcher {
	f := fetcher{maven: opts.Maven, cache: opts.Cache, progress: opts.Progress}
	if f.maven == "" {
		f.maven = mavenCentral
	}
	for _, r := range releases {
		if r.platform == platform() {
			f.release = r
		}
	}
	return f
}

// fetch returns the folder with the programs. What is there already is used: the
// unpacked programs, else the jar, else the part of the jar that an earlier
// attempt got.
func (f fetcher) fetch(ctx context.Context) (string, error) {
	if f.release == (release{}) {
		return "", f.unavailable(fmt.Errorf("there is no build for %s", platform()))
	}
	cache, err := makeFolder(f.cache, 0o755, 0o755)
	if err != nil {
		return "", folderError(f.cache, err)
	}
	f.cache = cache
	if err := os.Chmod(cache, 0o755); err != nil { // Postgres may run as another user
		return "", folderError(cache, err)
	}
	lock, holder, err := lockFile(filepath.Join(cache, "lock"))
	if errors.Is(err, errLocked) {
		return "", &domain.Error{
			Kind: domain.Conflict, Code: "postgres.being_fetched",
			Message: fmt.Sprintf("%s is fetching Postgres into %s", holder, cache), Fix: "wait until it is done, and start again",
		}
	}
	if err != nil {
		return "", folderError(cache, err)
	}
	defer lock.Close()

	target := filepath.Join(cache, "postgres-"+f.release.version+"-"+f.release.platform)
	if _, err := os.Stat(filepath.Join(target, "bin", "postgres")); err == nil {
		return filepath.Join(target, "bin"), nil
	}
	jar := filepath.Join(cache, f.release.jar())
	if _, err := os.Stat(jar); errors.Is(err, fs.ErrNotExist) {
		if err := f.download(ctx, jar); err != nil {
			return "", err
		}
	} else if err := f.verify(jar); err != nil {
		return "", err
	}
	if err := unpack(ctx, jar, target); err != nil {
		return "", fmt.Errorf("unpack %s: %w", jar, err)
	}
	return filepath.Join(target, "bin"), nil
}

// download gets the jar into a file beside it, which takes its name only when
// its content is right.
func (f fetcher) download(ctx context.Context, jar string) error {
	part := jar + ".part"
	for resumed := true; ; {
		info, err := os.Stat(part)
		resumed = resumed && err == nil && info.Size() > 0
		if err := f.transfer(ctx, part); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("fetch %s: %w", f.release.jar(), ctx.Err())
			}
			return f.unavailable(err)
		}
		err = f.verify(part)
		if err == nil {
			break
		}
		if e := os.Remove(part); e != nil {
			return errors.Join(err, e)
		}
		if !resumed {
			return err
		}
		resumed = false // the part may be from another file: once more, from the start
	}
	if err := os.Rename(part, jar); err != nil {
		return fmt.Errorf("fetch %s: %w", f.release.jar(), err)
	}
	return syncFolder(f.cache)
}

// verify compares a file with the pinned content.
func (f fetcher) verify(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("verify %s: %w", path, err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return fmt.Errorf("verify %s: %w", path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.release.sha256 {
		return &domain.Error{
			Kind: domain.Invalid, Code: "postgres.checksum",
			Message: fmt.Sprintf("%s is not the file it should be: its SHA-256 is %s, not %s", path, got, f.release.sha256),
			Fix:     "remove the file if it is there, and look at what " + f.source() + " serves",
		}
	}
	return nil
}

// source is where the jar comes from, without a password.
func (f fetcher) source() string {
	u, err := f.url()
	if err != nil {
		return "HISHAMOS_MAVEN_URL"
	}
	return u.Redacted()
}

func (f fetcher) url() (*url.URL, error) {
	u, err := url.Parse(f.maven)
	if err != nil {
		return nil, errors.New("HISHAMOS_MAVEN_URL is not a web address") // the address may hold a password
	}
	return u.JoinPath("io/zonky/test/postgres", f.release.artifact(), f.release.version, f.release.jar()), nil
}

// unavailable says in one error what can be done when there is no Postgres.
func (f fetcher) unavailable(cause error) error {
	fix := "(1) install Postgres 15 or later, with apt install postgresql or brew install postgresql@17; " +
		"(2) set DATABASE_URL to a Postgres that runs elsewhere"
	if f.release != (release{}) {
		fix += fmt.Sprintf("; (3) set HISHAMOS_MAVEN_URL to a mirror, or place the file %s at %s", f.source(), filepath.Join(f.cache, f.release.jar()))
	}
	return &domain.Error{
		Kind: domain.Unavailable, Code: "postgres.not_available",
		Message: fmt.Sprintf("there is no Postgres 15 or later on this machine, and it could not be fetched: %v", cause), Fix: fix,
	}
}
