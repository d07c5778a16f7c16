hatchd_unit_test(stack hatch_stack ${CMAKE_DL_LIBS})
target_compile_definitions(unit_stack PRIVATE HATCHD_DEMO="$<TARGET_FILE:hatchd-demo>"
  HATCHD_STACK_PLUGIN="$<TARGET_FILE:plugin_stack>")
add_dependencies(unit_stack hatchd-demo plugin_stack)
