module github.com/wsfw/wsfw

go 1.22
