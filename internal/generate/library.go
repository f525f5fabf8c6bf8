package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hishamos/hishamos/library"
)

// libraryVersions lists the hash of each version of each item of the library.
// Versions are added; one that is there keeps its hash.
func libraryVersions(root string) ([]byte, error) {
	folder := filepath.Join(root, "library")
	lib, err := library.Load(os.DirFS(folder))
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(folder, library.VersionsFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	versions := map[string]string{}
	for line := range strings.Lines(string(content)) {
		hash, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			return nil, fmt.Errorf("%s: %q is not `<hash>  <name>`", library.VersionsFile, line)
		}
		versions[name] = hash
	}
	var errs []error
	add := func(kind, id string, version int, hash string) {
		name := fmt.Sprintf("%s:%s@%d", kind, id, version)
		if was, ok := versions[name]; ok && was != hash {
			errs = append(errs, fmt.Errorf("%s has changed: raise its version and add a line to its changelog (if that version was never merged, remove its line from library/%s)", name, library.VersionsFile))
		}
		versions[name] = hash
	}
	for _, r := range lib.AgentRefs() {
		add("agent", r.ID, r.Version, r.Hash)
	}
	for _, r := range lib.TemplateRefs() {
		add("template", r.ID, r.Version, r.Hash)
	}
	for _, id := range lib.WorkflowIDs() {
		w, _ := lib.Workflow(id)
		r := w.Ref()
		add("workflow", r.ID, r.Version, r.Hash)
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		fmt.Fprintf(&b, "%s  %s\n", versions[name], name)
	}
	return []byte(b.String()), errors.Join(errs...)
}
