// Counts words that are sent to it.
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"net/http"
	"runtime"
	"sync"
)

func main() {
	var mutex sync.Mutex
	counts := map[string]int{}
	http.HandleFunc("/words", func(w http.ResponseWriter, r *http.Request) {
		words := bufio.NewScanner(r.Body)
		words.Split(bufio.ScanWords)
		mutex.Lock()
		defer mutex.Unlock()
		for words.Scan() {
			counts[words.Text()]++
		}
		json.NewEncoder(w).Encode(counts)
	})
	http.HandleFunc("/about", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(runtime.GOOS + "/" + runtime.GOARCH)
	})
	log.Fatal(http.ListenAndServe(":9000", nil))
}
