from eventpipeline.cli import main

main()
