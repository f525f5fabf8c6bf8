package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAChangedItemOfTheLibraryNeedsANewVersion(t *testing.T) {
	t.Parallel()
	copied := t.TempDir()
	if err := os.CopyFS(filepath.Join(copied, "library"), os.DirFS(filepath.Join(root, "library"))); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(copied, "library/agents/coding.yaml")
	edit := func(old, new string) {
		t.Helper()
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), old) {
			t.Fatalf("%q is not in %s", old, name)
		}
		if err := os.WriteFile(name, []byte(strings.Replace(string(content), old, new, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	edit(`reviewed_at: "2026-11-22"`, `reviewed_at: "2026-12-01"`)
	if _, err := libraryVersions(copied); err != nil {
		t.Errorf("a review changed a version: %v", err)
	}
	edit("name: Coding Agent", "name: Agent of Code")
	if _, err := libraryVersions(copied); err == nil || !strings.Contains(err.Error(), "agent:coding@2 has changed: raise its version") {
		t.Errorf("got %v", err)
	}
	edit("\nversion: 2\n", "\nversion: 3\n")
	content, err := libraryVersions(copied)
	if err != nil || !strings.Contains(string(content), "agent:coding@2\n") || !strings.Contains(string(content), "agent:coding@3\n") {
		t.Errorf("got %v and\n%s", err, content)
	}
}
