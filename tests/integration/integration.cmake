# The integration tests drive the real command line program.
if(TARGET fettle_integration_tests AND TARGET fettle-cli)
  target_compile_definitions(fettle_integration_tests PRIVATE FETTLE_CLI="$<TARGET_FILE:fettle-cli>")
  add_dependencies(fettle_integration_tests fettle-cli)
endif()
