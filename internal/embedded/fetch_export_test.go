package embedded

import "context"

// FetchRelease fetches a release that tests make themselves, pinned by its
// content.
func FetchRelease(ctx context.Context, maven, cache, sha256 string, progress func(done, total int64)) (string, error) {
	f := newFetcher(PostgresOptions{Maven: maven, Cache: cache, Progress: progress})
	f.release = release{platform: "test-cpu", version: "18.9.0", sha256: sha256}
	return f.fetch(ctx)
}
