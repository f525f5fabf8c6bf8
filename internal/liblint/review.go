package liblint

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/library"
)

// checkReview: somebody else than the author has read this version.
func (c *checker) checkReview(authors []string, r library.Review) {
	if len(authors) == 0 || len(r.ReviewedBy) == 0 {
		c.add("review/named", "authors and reviewed_by are needed")
	}
	for _, name := range r.ReviewedBy {
		if slices.Contains(authors, name) {
			c.add("review/independent", "%s wrote it and cannot review it", name)
		}
	}
	if _, err := time.Parse(time.DateOnly, r.ReviewedAt); err != nil {
		c.add("review/date", "reviewed_at is %q, not a date like 2026-11-23", r.ReviewedAt)
	}
}

// checkChangelog: each version has its line, the oldest first.
func (c *checker) checkChangelog(version int, log []library.Change) {
	ok := len(log) == version
	for i, change := range log {
		ok = ok && change.Version == i+1 && change.Note != ""
	}
	if !ok {
		c.add("version/changelog", "the changelog needs one line for each version from 1 to %d", version)
	}
}

// checkVersion: what was published as a version stays as it was.
func (c *checker) checkVersion(published map[string]string, kind string, r domain.Ref) {
	name := fmt.Sprintf("%s:%s@%d", kind, r.ID, r.Version)
	switch hash := published[name]; {
	case hash == "":
		c.add("version/listed", "%s is not in %s; run `make generate`", name, library.VersionsFile)
	case hash != r.Hash:
		c.add("version/raised", "the content of %s has changed; raise the version and add a line to the changelog", name)
	}
}

// publishedVersions reads lines of a hash and a name.
func publishedVersions(l *library.Library) (map[string]string, error) {
	content, err := l.Sample(library.VersionsFile)
	if err != nil {
		return nil, err
	}
	versions, lines := map[string]string{}, bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		hash, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok {
			return nil, fmt.Errorf("%s: %q is not `<hash>  <name>`", library.VersionsFile, lines.Text())
		}
		versions[name] = hash
	}
	return versions, lines.Err()
}
