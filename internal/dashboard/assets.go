package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

// assetsPath is the path below which the assets are. Behind it comes a version,
// so that browsers keep what they have for as long as it is right.
const assetsPath = "/assets/"

// assets are the files that pages load. Scripts name each other relative to
// themselves, so all of them share one version.
type assets struct {
	version string
	folder  string // assetsPath and the version
	byName  map[string]*asset
}

// asset is one file. A name that ends in .gz in the folder is that of a large
// file which is kept compressed.
type asset struct {
	kind  string // its Content-Type
	plain func() []byte
	zip   func() []byte
}

// kinds are the types of the assets by their names' ends.
var kinds = map[string]string{ //nolint:gochecknoglobals // a table
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
	"":     "text/plain; charset=utf-8", // a licence
}

// newAssets panics if a file cannot be read, which cannot be: they are built in.
func newAssets(files fs.FS) *assets {
	a := &assets{byName: map[string]*asset{}}
	sum := sha256.New()
	must(fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		_, _ = io.WriteString(sum, name+"\x00"+strconv.Itoa(len(content))+"\x00")
		_, _ = sum.Write(content)
		name = strings.TrimPrefix(name, "assets/")
		read := func() []byte { b, _ := fs.ReadFile(files, "assets/"+name); return b }
		short, zipped := strings.CutSuffix(name, ".gz")
		one := &asset{kind: kinds[path.Ext(short)]}
		if zipped {
			one.zip = sync.OnceValue(read)
			one.plain = func() []byte { return unzip(one.zip()) }
		} else {
			one.plain = sync.OnceValue(read)
			one.zip = sync.OnceValue(func() []byte { return zip(one.plain()) })
		}
		a.byName[short] = one
		return nil
	}))
	const digits = 16
	a.version = hex.EncodeToString(sum.Sum(nil))[:digits]
	a.folder = assetsPath + a.version
	return a
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// serve answers with the asset of that version and name. Another version, which
// a page asks for that was loaded before an upgrade, gets what there is now. It
// returns false if there is none of that name.
func (a *assets) serve(w http.ResponseWriter, r *http.Request, name string) bool {
	version, name, _ := strings.Cut(name, "/")
	one, ok := a.byName[name]
	if !ok {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", one.kind)
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if version == a.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body := one.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = one.zip
	}
	b := body()
	h.Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b) // an error is that of a browser that has gone
	return true
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b) // a buffer takes everything
	_ = w.Close()
	return out.Bytes()
}

func unzip(b []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(b))
	must(err)
	out, err := io.ReadAll(r)
	must(err)
	return out
}
