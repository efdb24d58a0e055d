// Reads gzip with Go's own package, the one most registries and runtimes use.
package main

import (
	"compress/gzip"
	"io"
	"log"
	"os"
)

func main() {
	reader, err := gzip.NewReader(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.Copy(os.Stdout, reader); err != nil {
		log.Fatal(err)
	}
}
