package store_test

import (
	"strings"
	"testing"

	"lyftr/internal/store"
)

func TestParseURL(t *testing.T) {
	for _, c := range []struct{ name, url, path string }{
		{"default", "sqlite:///./data/app.db", "./data/app.db"},
		{"relative", "sqlite:///app.db", "app.db"},
		{"relative in a folder", "sqlite:///data/app.db", "data/app.db"},
		{"relative above", "sqlite:///../app.db", "../app.db"},
		{"absolute", "sqlite:////data/app.db", "/data/app.db"},
		{"aiosqlite", "sqlite+aiosqlite:///./data/app.db", "./data/app.db"},
		{"aiosqlite absolute", "sqlite+aiosqlite:////data/app.db", "/data/app.db"},
		{"pysqlite", "sqlite+pysqlite:///app.db", "app.db"},
		{"scheme in capitals", "SQLite:///App.db", "App.db"},
		{"no extension", "sqlite:///app", "app"},
		{"hidden file", "sqlite:///.app", ".app"},
		{"dots in a name", "sqlite:///a..", "a.."},
		{"space", "sqlite:///my data/app.db", "my data/app.db"},
		{"percent is not an escape", "sqlite:///a%2Fb%zz.db", "a%2Fb%zz.db"},
		{"plus is not a space", "sqlite:///a+b.db", "a+b.db"},
		{"hash", "sqlite:///a#b.db", "a#b.db"},
		{"at and colon", "sqlite:///user:pw@host.db", "user:pw@host.db"},
		{"another URL as path", "sqlite:///a://b.db", "a://b.db"},
		{"Windows", `sqlite:///C:\data\app.db`, `C:\data\app.db`},
		{"Unicode", "sqlite:///données/é.db", "données/é.db"},
		{"memory in a name", "sqlite:///:memory:.db", ":memory:.db"},
		{"memory in a folder", "sqlite:////data/:memory:", "/data/:memory:"},
		{"empty query", "sqlite:///app.db?", "app.db"},
		{"ignored parameter", "sqlite:///app.db?check_same_thread=False", "app.db"},
		{"all ignored parameters", "sqlite:////data/app.db?check_same_thread=False&timeout=30&cached_statements=100&isolation_level=IMMEDIATE&detect_types=1", "/data/app.db"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := store.ParseURL(c.url)
			if err != nil {
				t.Fatal(err)
			}
			if got.Path != c.path {
				t.Errorf("got %q, want %q", got.Path, c.path)
			}
		})
	}
}

func TestParseServerURL(t *testing.T) {
	for _, c := range []struct{ name, url, server string }{
		{"libpq", "postgres://user@host/db", "host:5432/db"},
		{"long scheme", "postgresql://user:hunter2@host:5433/db", "host:5433/db"},
		{"asyncpg", "postgresql+asyncpg://user:hunter2@host/db?ssl=require&prepared_statement_cache_size=0", "host:5432/db"},
		{"psycopg", "postgresql+psycopg://user@host/db", "host:5432/db"},
		{"scheme in capitals", "PostgreSQL://user@host/db", "host:5432/db"},
		{"several hosts", "postgres://user:hunter2@one:5432,two:5433/db?target_session_attrs=read-write", "one:5432,two:5433/db"},
		{"escaped password", "postgres://user:hunter2%2F%40@host/db", "host:5432/db"},
		{"address", "postgres://user@[::1]:5432/db", "[::1]:5432/db"},
		{"socket", "postgres://user@/db?host=/run/postgresql", "/run/postgresql/db"},
		{"everything else by the environment", "postgres:///db?host=h", "h:5432/db"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := store.ParseURL(c.url)
			if err != nil {
				t.Fatal(err)
			}
			if want := (store.Target{Server: c.server}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestParseURLRefuses(t *testing.T) {
	for _, c := range []struct {
		name, url string
		want      string // part of the error, to tell one reason from another
	}{
		{"empty", "", "not a URL"},
		{"path alone", "/data/app.db", "not a URL"},
		{"scheme alone", "sqlite", "not a URL"},
		{"no slashes", "sqlite:app.db", "not a URL"},
		{"one slash", "sqlite:/app.db", "not a URL"},
		{"two slashes", "sqlite://app.db", "three slashes"},
		{"nothing behind two slashes", "sqlite://", "three slashes"},
		{"host", "sqlite://localhost/app.db", "three slashes"},
		{"user and host", "sqlite://user:pw@host/app.db", "three slashes"},
		{"no path", "sqlite:///", "no file"},
		{"memory", "sqlite:///:memory:", "no file"},
		{"memory by a driver", "sqlite+aiosqlite:///:memory:", "no file"},
		{"memory by a file URI", "sqlite:///file::memory:?timeout=1", "no file"},
		{"file URI", "sqlite:///file:app.db", "no file"},
		{"folder", "sqlite:///data/", "folder"},
		{"root", "sqlite:////", "folder"},
		{"dot", "sqlite:///.", "folder"},
		{"dot in a folder", "sqlite:////data/.", "folder"},
		{"dots", "sqlite:///..", "folder"},
		{"dots in a folder", "sqlite:///data/..", "folder"},
		{"NUL", "sqlite:///a\x00b.db", "NUL"},
		{"NUL at the end", "sqlite:///app.db\x00", "NUL"},
		{"unknown parameter", "sqlite:///app.db?chek_same_thread=False", `"chek_same_thread"`},
		{"unknown beside an ignored one", "sqlite:///app.db?timeout=1&mode=ro", `"mode"`},
		{"parameter in another case", "sqlite:///app.db?Timeout=1", `"Timeout"`},
		{"broken parameter", "sqlite:///app.db?timeout=%zz", "cannot be parsed"},
		{"semicolon in parameters", "sqlite:///app.db?timeout=1;mode=ro", "cannot be parsed"},
		{"server without a scheme's slashes", "postgresql:user@host/db", "not a URL"},
		{"port that is none", "postgres://user@host:port/db", "postgres://user:password@host:5432/database"},
		{"broken parameter of a server", "postgres://user@host/db?a=%zz", "cannot be parsed"},
		{"unknown sslmode", "postgres://user@host/db?sslmode=maybe", "sslmode"},
		{"unknown scheme", "mysql://user@host/db", `"mysql"`},
		{"unknown scheme with a driver", "mysql+pymysql://user@host/db", `"mysql+pymysql"`},
		{"empty scheme", "://app.db", "sqlite:///"},
		{"like sqlite", "sqlite3:///app.db", `"sqlite3"`},
		{"space before", " sqlite:///app.db", "sqlite:///"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := store.ParseURL(c.url)
			if err == nil {
				t.Fatalf("accepted as %q", got.Path)
			}
			if got != (store.Target{}) {
				t.Errorf("refused with target %+v", got)
			}
			text := err.Error()
			if !strings.Contains(text, c.want) {
				t.Errorf("error %q does not say %q", text, c.want)
			}
			// It is printed as one line, and has to say which setting it is and
			// what would be right.
			if !strings.Contains(text, "DATABASE_URL") || strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("error %q is not one line about DATABASE_URL", text)
			}
		})
	}
}

func TestParseURLKeepsPassword(t *testing.T) {
	const password = "hunter2"
	for _, c := range []struct{ name, url string }{
		{"server", "postgresql://user:hunter2@host:5432/db?sslmode=maybe"},
		{"server by a driver", "postgresql+asyncpg://user:hunter2@host:x/db"},
		{"server with a password that is not escaped", "postgres://user:hunter2%zz@host/db"},
		{"server with a password as a parameter", "postgres://host/db?user=u&password=hunter2&sslmode=maybe"},
		{"server with a certificate that is not there", "postgres://user:hunter2@host/db?sslmode=verify-full&sslrootcert=hunter3"},
		{"unknown scheme", "mysql://user:hunter2@host/db"},
		{"unknown scheme by a driver", "mysql+pymysql://user:hunter2@host/db"},
		{"sqlite with a host", "sqlite://user:hunter2@host/app.db"},
		{"value of an unknown parameter", "sqlite:///app.db?key=hunter2"},
		{"value of a broken parameter", "sqlite:///app.db?key=hunter2%zz"},
		{"second pair of slashes", "mysql://user:hunter2@host/db?next=postgres://user:hunter2@host/db"},
		{"no slashes", "postgresql:user:hunter2@host/db"},
		{"no scheme", "user:hunter2@host/db"},
		{"password before the slashes", "postgresql:user:hunter2@host/db?next=http://example.com"},
		{"user before the slashes", "user:hunter2@sqlite:///app.db"},
		{"no scheme and slashes", "hunter2@host/db://x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := store.ParseURL(c.url)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), password) {
				t.Errorf("error %q has the password", err)
			}
		})
	}
}

// A scheme of any length or content makes one short line.
func TestParseURLStrangeScheme(t *testing.T) {
	for name, scheme := range map[string]string{
		"long": strings.Repeat("x", 100_000), "newlines": "a\nb\rc", "ANSI": "\x1b[2Jx", "invalid UTF-8": "a\xff\xfe",
		"cut character": strings.Repeat("é", 100), "bidi": "a\u202eb",
	} {
		_, err := store.ParseURL(scheme + "://x")
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if text := err.Error(); len(text) > 300 || strings.ContainsAny(text, "\r\n\x1b\u202e") || strings.ToValidUTF8(text, "") != text {
			t.Errorf("%s: error %.500q is not one short printable line", name, text)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{
		"sqlite:///./data/app.db", "sqlite:////data/app.db", "sqlite+aiosqlite:///app.db?check_same_thread=False",
		"sqlite:///app.db?timeout=1&timeout=2", "sqlite:///app.db?mode=ro", "sqlite:///app.db?a=%zz", "sqlite:///a;b?c;d",
		"sqlite:///:memory:", "sqlite:///file:x", "sqlite:///", "sqlite://", "sqlite:", "sqlite:///a/", "sqlite:///a/..", "sqlite:///a\x00",
		"postgresql://user:hunter2@host:5432/db", "postgres+asyncpg://user:hunter2@host/db?password=hunter2",
		"mysql://user:hunter2@host/db", "SQLITE:///A", "://", "", "\xff://\xff", "sqlite:///\xff",
		strings.Repeat("é", 40) + "://user:hunter2@host",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := store.ParseURL(s)
		scheme, rest, _ := strings.Cut(s, "://")
		if err == nil {
			if target.Server != "" {
				return
			}
			if target.Path == "" || strings.ContainsRune(target.Path, 0) {
				t.Fatalf("%q: path %q", s, target.Path)
			}
			// The path is what stands behind three slashes, unchanged.
			if path, _, _ := strings.Cut(rest, "?"); path != "/"+target.Path {
				t.Fatalf("%q: path %q", s, target.Path)
			}
			return
		}
		if target != (store.Target{}) {
			t.Fatalf("%q: refused with target %+v", s, target)
		}
		text := err.Error()
		if len(text) > 400 || strings.ContainsAny(text, "\r\n\x00") {
			t.Fatalf("%q: error %q is not one short line", s, text)
		}
		// What stands behind the slashes may hold a password. A short one is a
		// part of any text, and the right forms are quoted in each error.
		const long = 12
		if len(rest) < long || strings.Contains(scheme, rest) {
			return
		}
		text = strings.NewReplacer("sqlite:///./data/app.db", "", "sqlite:////data/app.db", "", "user:password@host:5432/database", "").Replace(text)
		if strings.Contains(text, rest) {
			t.Fatalf("%q: error %q holds what stands behind the slashes", s, text)
		}
	})
}
